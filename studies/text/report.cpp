#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "studies/common/report_document.hpp"

namespace studies::text {
namespace {

using common::estimate;
using common::listed;
using common::with_sign;

const std::vector<std::string> table_titles = {"method",         "best rate", "test accuracy",
                                               "gain over LoRA", "test loss", "last training loss",
                                               "minus LoRA's",   "trained",   "evidence steps",
                                               "s/run"};

std::vector<std::string> cells_of(const table_of_set& t, const experiment::result& r) {
  const summary_row& row = r.summary;
  std::vector<double> last;
  int evidence = 0;
  for (const common::run_record* const run : r.runs) {
    if (run->rate == row.rate) {
      last.push_back(last_training_loss(*run));
    }
    evidence = std::max(evidence, run->calibration_steps);
  }
  return {row.name,
          common::rate_cell(row),
          common::with_interval(row.test_accuracy, 3),
          with_sign(row.gain, 3),
          common::with_interval(row.test_loss, 3),
          apps::console::fixed(common::mean(last), 3),
          with_sign(common::above_reference(t.results, r, last_training_loss), 3),
          apps::console::grouped(row.trainable_parameters),
          std::to_string(evidence),
          apps::console::fixed(row.seconds, 1)};
}

// What was run, in one paragraph.
std::string setting_of(const report_contents& c) {
  const training_settings& s = c.wanted->training;
  std::string sets;
  for (const auto& [name, set] : c.done->sets()) {
    sets += fmt::format(" {}: {} rated sentences, {} train, {} validation, {} test ({} positive).",
                        set.of->title, set.rated, set.train.size(), set.validation.size(),
                        set.test.size(), apps::console::fixed(set.positive(), 3));
  }
  return fmt::format(
      "{}; adapters on every linear layer. {} steps; {}. {}. Learning rates {}, more where the "
      "best "
      "is at the edge. The head has {} numbers, counted apart.{}",
      c.done->model_name(), s.steps, to_text(s), describe_backend(),
      apps::console::joined(c.wanted->amount.rates, ", "), c.done->head_parameters(), sets);
}

}  // namespace

std::string title_of(const table_of_set& t) {
  return fmt::format("{}, rank {}", t.set->title, t.rank);
}

double last_training_loss(const common::run_record& r) {
  return r.training_curve.empty() ? common::not_a_number : r.training_curve.back().loss;
}

std::vector<std::string> findings(const report_contents& c) {
  std::vector<std::string> all;
  for (const table_of_set& t : c.tables) {
    for (const experiment::result& r : t.results) {
      const estimate gain = r.summary.gain;
      const estimate loss = common::above_reference(t.results, r, last_training_loss);
      if (std::isfinite(gain.mean)) {
        all.push_back(fmt::format(
            "{}: {} against LoRA, Kaiming: test accuracy {} ({}), last training loss {} "
            "({}).",
            title_of(t), r.summary.name, with_sign(gain, 3), common::verdict(gain),
            with_sign(loss, 3), common::verdict(loss)));
      }
    }
  }
  return all;
}

std::vector<std::string> caveats(const report_contents& c) {
  const preset& a = c.wanted->amount;
  std::vector<std::string> all = {
      "The learning rate of each method is chosen by its mean validation loss; test results choose "
      "nothing. All methods have the same steps (what a start takes of the data is charged), the "
      "same head, starting alike and trained at the same rate, and the same batches a seed.",
      fmt::format(
          "Intervals are t-intervals over {} on one split: they hold the chance of the head, "
          "of the order of the sentences and of a method's draws, not that of the sample of "
          "test sentences, whose share in an accuracy near 0.8 is about ±{}. Gains are paired "
          "by seed.",
          common::seeds_of(c.tables, a.seeds),
          apps::console::fixed(1.96 * std::sqrt(0.8 * 0.2 / double(a.sizes.test)), 3)),
      "There is no dropout. Every set is the sign of a mean rating of at least 0.5 by size; what "
      "people rated as neutral is left out.",
  };
  for (const set_description* const s : c.wanted->sets) {
    if (s->name == "movie") {
      all.push_back(
          "The sentences of movie reviews do not say which review they are from: a review may have "
          "sentences in training and in test.");
    }
    if (s->name == "amazon") {
      all.push_back(
          "The product reviews are split by review: no review has sentences in two parts. All "
          "parts "
          "speak of the same five products.");
    }
  }
  if (!c.wanted->left_out.empty()) {
    all.push_back("Left out here: " + listed(c.wanted->left_out) + ".");
  }
  std::vector<std::string> sets;
  for (const set_description& s : all_sets) {
    const auto& run = c.wanted->sets;
    if (std::find(run.begin(), run.end(), &s) == run.end()) {
      sets.push_back(s.title);
    }
  }
  if (!sets.empty()) {
    all.push_back("Sets left out here: " + listed(sets) + ".");
  }
  if (!c.left_out.empty()) {
    all.push_back(c.left_out);
  }
  return all;
}

std::string write_report(const std::filesystem::path& directory, const report_contents& c) {
  common::report_document document{
      .title = "preheat: methods on sentences",
      .heading = "Starts and methods of LoRA on the sentiment of sentences",
      .incomplete = c.incomplete,
      .setting = setting_of(c),
      .tables = {},
      .findings = findings(c),
      .more_tables = {},
      .caveats = caveats(c),
      .credits =
          "HRP is due to the authors of arXiv 2502.07739; the sentences to Hutto and Gilbert, "
          "ICWSM 2014; the encoder is all-MiniLM-L6-v2."};
  for (const table_of_set& t : c.tables) {
    document.tables.push_back(
        common::table_of(title_of(t), table_titles, t.results,
                         [&](const experiment::result& r) { return cells_of(t, r); }));
  }
  return common::write_report(directory, document, figures_of(c));
}

}  // namespace studies::text
