// preheat-map: when does preheating pay? The directions that HRP starts from, by how it preheats,
// at which rank and for how long, against random directions; then the choice, and its confirmation
// on data that chose nothing.
//
//   preheat-map --quick
//   preheat-map --help
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "report.hpp"

namespace studies::map {
namespace {

constexpr int interrupted_status = 130;  // of a program ended by Ctrl-C

constexpr const char* examples = R"(Examples:
  preheat-map --quick
  preheat-map
  preheat-map --full --out results/map

Every finished run is kept in DIR/runs.jsonl: the same command goes on where it was stopped.
DIR/map.csv and DIR/energy.csv have the numbers, DIR/report.txt what is printed, DIR/plots the pictures.)";

// What is printed is kept as well.
class report_text {
 public:
  void add(const std::string& text) {
    fmt::print("{}", text);
    std::fflush(stdout);
    all_ += text;
  }
  const std::string& all() const { return all_; }

 private:
  std::string all_;
};

int interrupted(const studies::common::run_log& log, const std::filesystem::path& out) {
  fmt::print("stopped. {} runs are kept in {}; the same command goes on from there.\n", log.size(),
             (out / "runs.jsonl").string());
  return interrupted_status;
}

std::string describe_plan(const amount& a) {
  std::string text = fmt::format(
      "{}; {} bases behind every interval, {} for the confirmation; rates {}, more at an edge; {} "
      "threads\n",
      studies::digits::describe_backend(), a.bases, a.confirm_bases,
      apps::console::joined(a.trials.rates, " "), a.trials.threads);
  if (!a.full) {
    text +=
        "the fraction that is run: all kinds on rotated at 50 and 150 steps and on two teachers at "
        "50; both sides of classic on a teacher at 150; rotated at 400 steps and the flat teacher "
        "for train A by SGD and classic by Adam (--full: all kinds everywhere)\n";
  }
  return text;
}

int study(const amount& a, const std::filesystem::path& out) {
  const auto begun = std::chrono::steady_clock::now();
  studies::digits::use_one_blas_thread();
  apps::console::stop_on_signals();
  std::filesystem::create_directories(out);
  studies::common::run_log log(out / "runs.jsonl");
  trials t(a.trials, log);
  report_text report;
  report.add(log.note().empty() ? std::string() : log.note() + "\n");
  report.add(describe_plan(a));
  apps::console::progress_bar bar;
  csv numbers;

  for (const map_setup& m : map_setups(a)) {
    const std::vector<start_config> configs = configs_of(m, a);
    const start_config random = random_like(configs.front());
    t.want(m.at, random, a.bases);
    for (const start_config& c : configs) {
      t.want(m.at, c, a.bases);
    }
    if (!t.run(bar)) {
      return interrupted(log, out);
    }
    bar.clear();
    report.add(map_table(t, a, m));
    numbers.add(t, "map", m.at, random, random);
    for (const start_config& c : configs) {
      numbers.add(t, "map", m.at, c, random);
    }
  }
  report.add(sides_table(t, a));

  const std::vector<scored_config> ranked = rank_configs(t, a);
  if (ranked.empty()) {
    throw std::runtime_error("every kind of preheating diverged at every rate");
  }
  const scored_config chosen = choose(ranked);
  report.add(choice_table(ranked, chosen));

  for (const map_setup& m : map_setups(a)) {
    if (m.chooses) {
      for (const start_config& c : starts_by_size(chosen, a, m.at.steps)) {
        t.want(m.at, c, a.bases);
      }
    }
  }
  if (!t.run(bar)) {
    return interrupted(log, out);
  }
  bar.clear();
  for (const map_setup& m : map_setups(a)) {
    if (m.chooses) {
      report.add(size_table(t, chosen, a, m.at));
      for (const start_config& c : starts_by_size(chosen, a, m.at.steps)) {
        numbers.add(t, "size", m.at, c, {.from = start::kaiming});
      }
    }
  }
  const double norm = rank_sizes(t, chosen, a).front().norm;
  report.add(fmt::format("\nchosen: rows of norm {}\n", norm));

  const energy_table energy = measure_energies(t, a, bar);
  bar.clear();
  report.add(energy_text(energy));

  for (const setup& p : confirming_setups(a)) {
    for (const start_config& c : confirmed_configs(chosen, norm, p.steps)) {
      t.want(p, c, a.confirm_bases);
    }
  }
  if (!t.run(bar)) {
    return interrupted(log, out);
  }
  bar.clear();
  for (const setup& p : confirming_setups(a)) {
    const std::vector<start_config> configs = confirmed_configs(chosen, norm, p.steps);
    report.add(confirmed_table(t, p, configs));
    for (const start_config& c : configs) {
      numbers.add(t, "confirmed", p, c, configs.front());
    }
  }

  apps::console::write_file(out / "map.csv", numbers.text());
  apps::console::write_file(out / "energy.csv", energy_csv(energy));
  apps::console::write_file(out / "report.txt", report.all());
  const std::vector<apps::console::picture> all = pictures(t, a, chosen, energy);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begun;
  fmt::print("\n{}\nnumbers: {}\nruns: {}\ndone in {}\n",
             apps::console::draw_pictures(out / "plots", all), (out / "map.csv").string(),
             (out / "runs.jsonl").string(), apps::console::clock_text(elapsed.count()));
  return 0;
}

}  // namespace
}  // namespace studies::map

int main(int argc, char** argv) {
  CLI::App app{
      "When does preheating pay? HRP's directions against random ones, by preheating rank, "
      "preheating\nsteps and total steps, preheating charged; then the choice by validation, and "
      "its confirmation.",
      "preheat-map"};
  app.footer(studies::map::examples);
  studies::map::amount a;
  a.trials.threads = int(std::max(1u, std::thread::hardware_concurrency()));
  std::string out = "results/map";
  app.add_flag("--full", a.full, "all kinds at all lengths, 10 bases (about an hour)");
  app.add_flag("--quick", a.quick, "few of everything: to see that it works, not to conclude")
      ->excludes("--full");
  app.add_option("--out", out, "folder for the results")->capture_default_str();
  app.add_option("--data", a.trials.data, "digits.csv, if it is not found by itself");
  app.add_option("--threads", a.trials.threads, "runs at a time; default one a processor")
      ->check(CLI::Range(1, 1024));
  CLI11_PARSE(app, argc, argv);
  a.trials.rates = {1e-2, 3e-2, 1e-1};
  a.trials.most_added_rates = a.quick ? 0 : 3;
  a.bases = a.quick ? 2 : a.full ? 10 : 5;
  a.confirm_bases = a.quick ? 2 : a.full ? 20 : 10;
  try {
    return studies::map::study(a, out);
  } catch (const std::exception& error) {
    fmt::print(stderr, "preheat-map: {}\n", error.what());
    return 1;
  }
}
