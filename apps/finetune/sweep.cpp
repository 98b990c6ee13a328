#include "sweep.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "apps/console/text_table.hpp"
#include "one_run.hpp"
#include "run_folder.hpp"
#include "save.hpp"
#include "studies/common/statistics.hpp"

namespace apps::finetune {
namespace {

namespace fs = std::filesystem;

std::string name_of(const run_choice& run) {
  return fmt::format("{}_{}_{}", run.method->id, console::to_text(run.rate), run.seed);
}

// The held-out losses of the runs that are done, by their names; infinite where the numbers were not finite.
std::map<std::string, double> read_losses(const fs::path& folder) {
  std::map<std::string, double> losses;
  for (const fs::directory_entry& file : fs::directory_iterator(folder)) {
    const std::string name = file.path().filename().string();
    if (!name.starts_with("log.") || !name.ends_with(".jsonl")) {
      continue;
    }
    std::ifstream lines(file.path());
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json run = nlohmann::json::parse(line, nullptr, false);
      if (run.is_object() && run.contains("run") && run.contains("eval_loss")) {
        losses[run["run"].get<std::string>()] = run["eval_loss"].is_number()
                                                    ? run["eval_loss"].get<double>()
                                                    : std::numeric_limits<double>::infinity();
      }
    }
  }
  return losses;
}

// Notes a run that is done. The line before it may have been cut off.
void note(const fs::path& folder, int process, const nlohmann::ordered_json& line) {
  const fs::path file =
      folder / (process == 0 ? "log.jsonl" : fmt::format("log.{}.jsonl", process));
  std::ofstream log(file, std::ios::app);
  log << "\n" << line.dump() << "\n" << std::flush;
  if (!log) {
    throw preheat::io_error(file.string() + ": cannot write");
  }
}

// The run with the smallest loss, the first of equals; empty: none is finite.
std::string best_of(const std::vector<run_choice>& runs,
                    const std::map<std::string, double>& losses) {
  std::string best;
  for (const run_choice& run : runs) {
    const auto here = losses.find(name_of(run));
    if (here != losses.end() && std::isfinite(here->second) &&
        (best.empty() || here->second < losses.at(best))) {
      best = here->first;
    }
  }
  return best;
}

// One row per method and rate: the mean over its seeds, with the interval of 95 %.
std::string table_of(const std::vector<run_choice>& runs,
                     const std::map<std::string, double>& losses, const std::string& best) {
  using console::align;
  console::table t(
      {{"method", align::left}, {"rate"}, {"seeds"}, {"held-out loss"}, {"± 95 %"}, {""}});
  for (std::size_t i = 0; i < runs.size();) {
    std::vector<double> values;
    bool has_best = false;
    std::size_t k = i;
    for (; k < runs.size() && runs[k].method == runs[i].method && runs[k].rate == runs[i].rate;
         ++k) {
      values.push_back(losses.at(name_of(runs[k])));
      has_best = has_best || name_of(runs[k]) == best;
    }
    const studies::common::estimate e = studies::common::mean_with_interval(values);
    t.add({runs[i].method->id, console::to_text(runs[i].rate), std::to_string(values.size()),
           console::fixed(e.mean, 4), console::fixed(e.half, 4), has_best ? "best" : ""});
    i = k;
  }
  return t.to_string();
}

}  // namespace

fs::path sweep(material& m, const std::vector<run_choice>& runs, const fs::path& folder) {
  const preheat::process_group& all = m.sweepers;
  std::optional<run_folder> locked;  // by the first process
  if (all.first()) {
    locked.emplace(folder, settings_of(m));
  }
  all.any(false);  // until it is there
  const std::map<std::string, double> before = read_losses(folder);
  all.any(false);  // until all have read it
  std::map<std::string, double> losses = before;
  const auto remove_all_but = [&](const std::string& best) {
    for (const auto& [name, loss] : losses) {
      std::error_code other_process_did;
      if (name != best) {
        fs::remove_all(folder / (name + ".adapter"), other_process_did);
      }
    }
  };
  std::size_t turn = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (locked && (!losses.empty() || !all.alone())) {
      locked->keep_always();
    }
    const std::string name = name_of(runs[i]);
    if (before.contains(name) || turn++ % std::size_t(all.size()) != std::size_t(all.rank())) {
      continue;
    }
    const fs::path adapter = folder / (name + ".adapter");
    fmt::print("run {} of {}: {}\n", i + 1, runs.size(), name);
    fs::remove_all(adapter);  // of a process that was killed before it was noted
    const run_result result = make_run(m, runs[i], folder / name, adapter);
    losses[name] = std::isfinite(result.eval_loss) ? result.eval_loss
                                                   : std::numeric_limits<double>::infinity();
    note(folder, all.rank(),
         {{"run", name},
          {"eval_loss", losses[name]},
          {"status", preheat::to_string(result.outcome.status)}});
    remove_all_but(best_of(runs, losses));
  }
  all.any(false);  // until all have noted theirs
  losses = read_losses(folder);
  const std::string best = best_of(runs, losses);
  if (all.first()) {
    locked->keep_always();
    remove_all_but(best);
    fmt::print("{}", table_of(runs, losses, best));
  }
  if (best.empty()) {
    throw std::runtime_error("no run ended with a finite held-out loss; smaller --rates may help");
  }
  return folder / (best + ".adapter");
}

void finish_sweep(const fs::path& best, const fs::path& folder, const fs::path& out) {
  move_adapter(best, out);
  fs::remove_all(folder);
  fmt::print("adapter: {}\n", out.string());
}

}  // namespace apps::finetune
