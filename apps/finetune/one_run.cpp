#include "one_run.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "apps/console/progress.hpp"
#include "run_folder.hpp"
#include "save.hpp"

namespace apps::finetune {
namespace {

// Shows and logs the steps of a run.
class reporter {
 public:
  reporter(run_folder& folder, const batches& data) : folder_(folder), data_(data) {}

  void operator()(const preheat::training_progress& p) {
    if (phase_ != p.phase) {
      phase_ = p.phase;
      bar_.grow(std::size_t(p.steps), std::size_t(std::max<index_t>(0, p.step - 1)));
    }
    const double seconds = std::chrono::duration<double>(clock::now() - begun_).count();
    const double speed = double(data_.tokens()) / std::max(seconds, 1e-9);
    nlohmann::ordered_json line = {
        {"phase", p.phase},        {"step", p.step},
        {"steps", p.steps},        {"loss", p.loss},
        {"rate", p.learning_rate}, {"tokens", data_.tokens()},
        {"seconds", seconds},      {"cpu_seconds", double(std::clock()) / CLOCKS_PER_SEC}};
    is_best_ = false;
    if (p.validation_loss) {
      line["eval_loss"] = *p.validation_loss;
      is_best_ = !(*p.validation_loss >= best_);
      best_ = is_best_ ? *p.validation_loss : best_;
      bar_.clear();
      fmt::print("step {} of {}: loss {:.4f}, held out {:.4f}\n", p.step, p.steps, p.loss,
                 *p.validation_loss);
      std::fflush(stdout);
    }
    folder_.log(line);
    bar_.advance(fmt::format("{} loss {:.4f}, {:.0f} tokens/s", p.phase, p.loss, speed));
  }
  bool is_best() const { return is_best_; }
  void start_from(double best) { best_ = best; }

 private:
  using clock = std::chrono::steady_clock;
  run_folder& folder_;
  const batches& data_;
  console::progress_bar bar_;
  std::string phase_;
  bool is_best_ = false;
  double best_ = INFINITY;
  clock::time_point begun_ = clock::now();
};

index_t steps_in(const std::optional<preheat::training_state>& state) {
  return state ? index_t(state->entries.at("step").values.at(0)) : 0;
}

// The best evaluation that a state has seen.
double best_in(const std::optional<preheat::training_state>& state) {
  const auto found =
      state ? state->entries.find("validation/stopping/best") : decltype(state->entries.end())();
  return state && found != state->entries.end() ? found->second.values.at(0) : INFINITY;
}

// `folder` is the first process's; the others read what is in `path`.
trained train_one(material& m, const run_choice& run, network& net, run_folder* folder,
                  const std::filesystem::path& path) {
  batches data(m.train, m.rows, m.o.batch);
  const auto last = [&] {
    m.processes.any(false);  // until the first process has written it
    return run_folder::last_in(path);
  };
  const std::optional<preheat::training_state> resumed = last();
  if (resumed) {
    fmt::print("going on after step {} of {}\n", steps_in(resumed), path.string());
  }
  training_job job{.net = &net,
                   .data = &data,
                   .validation = m.eval.empty() ? &m.validation : &m.eval_batch,
                   .options = fit_options_of(m, run),
                   .rate = run.rate,
                   .last = last};
  job.options.resume = resumed ? &*resumed : nullptr;
  std::optional<reporter> report;
  if (folder != nullptr) {
    folder->begin_log(steps_in(resumed));
    report.emplace(*folder, data);
    report->start_from(best_in(resumed));
    job.keep = [&](const preheat::training_state& s) { folder->keep(s); };
    job.options.observer = [&](const preheat::training_progress& p) { (*report)(p); };
  }
  if (m.o.patience > 0 && !m.eval.empty()) {
    job.is_best = [&] { return report && report->is_best(); };
    job.keep_best = [&](const preheat::training_state& s) { folder->keep_best(s); };
    job.best = [&] {
      m.processes.any(false);
      return run_folder::best_in(path);
    };
  }
  return run.method->train(job);
}

// The loss and the accuracy that the result has, by what is saved.
void evaluate(material& m, network& net, run_result& result) {
  if (m.eval.empty()) {
    return;
  }
  const any_adapter none;
  const any_adapter& adapter = result.outcome.adapter ? *result.outcome.adapter : none;
  network& base = result.outcome.adapter ? m.model.net : net;
  result.eval_loss = loss_with(adapter, base, m.eval_batch);
  if (base.classifies()) {
    result.eval_accuracy = accuracy_with(adapter, base, m.eval_batch);
  }
}

}  // namespace

run_result make_run(material& m, const run_choice& run, const std::filesystem::path& folder,
                    const std::filesystem::path& out) {
  std::optional<run_folder> state;  // of the first process
  if (m.processes.first()) {
    state.emplace(folder, settings_of(m, run));
  }
  run_result result;
  // The original base stays for the adapter that is saved.
  if (run.method->changes_base) {
    result.changed = std::make_unique<network>(m.model.net.copy());
  }
  network& net = result.changed ? *result.changed : m.model.net;
  start_head(m, net, run.seed);
  result.outcome = train_one(m, run, net, state ? &*state : nullptr, folder);
  const trained& outcome = result.outcome;
  if (outcome.status == preheat::fit_status::interrupted) {
    throw std::runtime_error(
        fmt::format("stopped after step {} of {}; the same command goes on from {}", outcome.steps,
                    m.steps, folder.string()));
  }
  if (result.changed && outcome.adapter) {
    m.model.net.head() = std::move(net.head());  // the trained one belongs to the adapter
  }
  if (state && !outcome.nothing_finite) {
    evaluate(m, net, result);
    if (outcome.adapter) {
      save_adapter(*outcome.adapter, m.model,
                   {.card = card_of(m, run, result),
                    .log = state->log_text(),
                    .rslora = m.o.rslora,
                    .curves = m.o.curves},
                   folder, out);
    }
  }
  result.eval_loss = m.processes.of_first(result.eval_loss);
  if (state) {
    state->remove();
  }
  return result;
}

}  // namespace apps::finetune
