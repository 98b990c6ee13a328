#include "sweep.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
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
std::map<std::string, double> read_losses(const fs::path& file) {
  std::map<std::string, double> losses;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json run = nlohmann::json::parse(line, nullptr, false);
    if (run.is_object() && run.contains("run") && run.contains("eval_loss")) {
      losses[run["run"].get<std::string>()] = run["eval_loss"].is_number()
                                                  ? run["eval_loss"].get<double>()
                                                  : std::numeric_limits<double>::infinity();
    }
  }
  return losses;
}

// A row a method and rate: the mean over its seeds, with the interval of 95 %.
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
  std::optional<run_folder> all;  // of the first process
  if (m.processes.first()) {
    all.emplace(folder, settings_of(m));
  }
  m.processes.any(false);
  std::map<std::string, double> losses = read_losses(folder / "log.jsonl");
  m.processes.any(false);  // all have read it
  if (all) {
    all->begin_log(std::numeric_limits<index_t>::max());
  }
  const auto keep = [&] {
    if (all && !losses.empty()) {
      all->keep_always();
    }
  };
  const auto remove_adapter = [&](const std::string& name) {
    if (all) {
      fs::remove_all(folder / (name + ".adapter"));
    }
  };
  keep();
  std::string best;
  const auto choose = [&](const std::string& name) {
    if (std::isfinite(losses.at(name)) && (best.empty() || losses.at(name) < losses.at(best))) {
      best = name;
    }
  };
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::string name = name_of(runs[i]);
    const fs::path adapter = folder / (name + ".adapter");
    if (!losses.contains(name)) {
      fmt::print("run {} of {}: {}\n", i + 1, runs.size(), name);
      remove_adapter(name);  // of a process that was killed before it was noted
      const run_result result = make_run(m, runs[i], folder / name, adapter);
      losses[name] = std::isfinite(result.eval_loss) ? result.eval_loss
                                                     : std::numeric_limits<double>::infinity();
      if (all) {
        all->log({{"run", name},
                  {"eval_loss", losses[name]},
                  {"status", preheat::to_string(result.outcome.status)}});
      }
      keep();
    }
    const std::string before = best;
    choose(name);
    for (const std::string& worse : {before, name}) {
      if (!worse.empty() && worse != best) {
        remove_adapter(worse);
      }
    }
  }
  fmt::print("{}", table_of(runs, losses, best));
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
