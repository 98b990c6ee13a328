// preheat-rates: best learning rates of comparisons against the rank, on any problem, and on digits against
// those that the curvature of each start predicts (preheat/train/curvature.hpp).
//
//   preheat-compare --methods lora,lora_muon --shifts rotated --ranks 4,8,16,32,64 --out ranks
//   preheat-compare --methods all --shifts rotated --out all
//   preheat-lm --methods lora,lora_muon --ranks 4,8,16,32,64 --out lm
//   preheat-rates ranks/runs.jsonl all/runs.jsonl lm/runs.jsonl
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "report.hpp"
#include "starts.hpp"
#include "studies/digits/base_models.hpp"

namespace studies::rates {
namespace {

struct settings {
  std::vector<std::string> files;
  std::vector<std::string> rank_methods{"lora", "lora_muon"};
  int rank = 4;
  std::string data;
  std::string out = "results/rates";
};

constexpr digits::shift shift = digits::shift::rotated;

// By method and rank, of one problem.
using groups = std::map<std::pair<std::string, int>, common::run_group>;

// By problem. Throws std::runtime_error if runs that would be one group were made with other settings.
std::map<std::string, groups> grouped(const std::vector<common::run_record>& runs) {
  std::map<std::string, groups> all;
  const auto setting_of = [](const common::run_record& r) {
    return fmt::format("{} steps; {}", r.steps,
                       r.settings.substr(0, r.settings.find("; fingerprint")));
  };
  for (const common::run_record& r : runs) {
    if (r.rate > 0) {
      common::run_group& group = all[r.shift][{r.method, r.rank}];
      if (!group.empty() && setting_of(*group.front()) != setting_of(r)) {
        throw std::runtime_error(
            fmt::format("the files have runs of '{}' at rank {} on {} with two settings; give one "
                        "of them.\n{}\n{}",
                        r.method, r.rank, r.shift, setting_of(*group.front()), setting_of(r)));
      }
      group.push_back(&r);
    }
  }
  return all;
}

std::vector<rate_at_rank> by_rank(const std::map<std::string, groups>& all,
                                  const std::vector<std::string>& methods) {
  std::vector<rate_at_rank> rows;
  for (const auto& [problem, of_problem] : all) {
    for (const std::string& method : methods) {
      std::vector<common::run_group> ranks;
      for (const auto& [key, runs] : of_problem) {
        if (key.first == method) {
          ranks.push_back(runs);
        }
      }
      for (rate_at_rank& row : rates_by_rank(ranks)) {
        rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

// The first of all starts is LoRA's, the reference.
std::vector<rate_of_start> by_start(const groups& all, const settings& s) {
  const digits::samples digits = digits::read_digits(digits::find_digits(s.data));
  const digits::shift_data data = digits::make_shift(digits, shift);
  const digits::training_settings training;
  digits::base_models bases(training);
  std::vector<rate_of_start> rows;
  for (const start_point& start : all_starts()) {
    const auto found = all.find({start.id, s.rank});
    const auto best = found == all.end() ? std::nullopt : common::choose_rate(found->second);
    if (!best) {
      if (rows.empty()) {
        throw std::runtime_error("the files have no runs of '" + start.id + "' at rank " +
                                 std::to_string(s.rank) + ", the reference");
      }
      continue;
    }
    std::set<int> seen;
    double logarithms = 0, smallest = 0;
    for (const common::run_record* r : found->second) {
      if (seen.insert(r->base).second) {
        common::run_definition run = *r;
        run.rate = rows.empty() ? best->rate : rows.front().tuned;  // known before tuning
        const spectrum_ends ends =
            start.curvature(bases.of(shift, data, r->base), data, training, run);
        logarithms += std::log(ends.largest);
        smallest += ends.smallest;
      }
    }
    const double bases_seen = double(seen.size());
    rows.push_back({start.id, found->second.front()->name, std::exp(logarithms / bases_seen),
                    smallest / bases_seen, best->rate, best->at_edge});
  }
  return rows;
}

int run(const settings& s) {
  std::vector<common::run_record> runs;
  for (const std::string& file : s.files) {
    for (common::run_record& r : common::read_runs(file).runs) {
      runs.push_back(std::move(r));
    }
  }
  digits::use_one_blas_thread();
  const std::map<std::string, groups> all = grouped(runs);
  const std::filesystem::path out = s.out;
  std::filesystem::create_directories(out);

  const std::vector<rate_at_rank> ranks = by_rank(all, s.rank_methods);
  fmt::print("best rate by rank; * at the edge of those tried\n{}\n", rank_table(ranks));
  apps::console::write_file(out / "rates_by_rank.csv", rank_csv(ranks));
  std::vector<apps::console::picture> pictures;
  if (!ranks.empty()) {
    pictures.push_back(rank_picture(ranks));
  }
  // Only digits are so small that the curvature of every start is measured here. One start predicts none.
  if (const auto on_digits = all.find(std::string(digits::name(shift))); on_digits != all.end()) {
    const std::vector<rate_of_start> starts = by_start(on_digits->second, s);
    if (starts.size() > 1) {
      fmt::print(
          "rank {}: the rate by the curvature of the start, from that of {}\n{}\n", s.rank,
          starts.front().name,
          start_table(starts, {predict(starts, 1), predict(starts, 0.5), same_rate(starts)}));
      apps::console::write_file(out / "rates_by_curvature.csv", start_csv(starts));
      pictures.push_back(start_picture(starts, 1));
    }
  }
  fmt::print("{}\n", apps::console::draw_pictures(out / "plots", pictures));
  return 0;
}

}  // namespace
}  // namespace studies::rates

int main(int argc, char** argv) {
  CLI::App app{
      "Best learning rates of comparisons against the rank, on any problem; and on rotated digits "
      "against\n"
      "those that the curvature of each start predicts.\n\n"
      "Examples:\n"
      "  preheat-compare --methods lora,lora_muon --shifts rotated --ranks 4,8,16,32,64 --out "
      "ranks\n"
      "  preheat-compare --methods all --shifts rotated --out all\n"
      "  preheat-lm --methods lora,lora_muon --ranks 4,8,16,32,64 --out lm\n"
      "  preheat-rates ranks/runs.jsonl all/runs.jsonl lm/runs.jsonl"};
  studies::rates::settings s;
  app.add_option("files", s.files, "runs.jsonl of preheat-compare or preheat-lm")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--rank-methods", s.rank_methods, "methods of the figure over ranks")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--rank", s.rank, "rank of the figure over starts")->capture_default_str();
  app.add_option("--data", s.data, "digits.csv, if it is not found by itself");
  app.add_option("--out", s.out, "folder for the numbers and plots")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return studies::rates::run(s);
  } catch (const std::exception& e) {
    fmt::print(stderr, "preheat-rates: {}\n", e.what());
    return 2;
  }
}
