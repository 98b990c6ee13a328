#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <span>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "studies/common/report_document.hpp"

namespace studies::lm {
namespace {

using common::estimate;
using common::run_record;
using common::with_sign;

double test_loss(const run_record& r) {
  return r.test_loss;
}

// What the tables have of one method.
struct row : method_means {
  const common::summary_row* summary;
  estimate difference;  // of the test loss to LoRA's, seed by seed
};

row row_of(const table_of_rank& t, const experiment::result& r) {
  return {means_of(r), &r.summary, common::above_reference(t.results, r, test_loss)};
}

const std::vector<std::string> titles = {
    "method",  "best rate", "eval loss", "minus LoRA's", "token accuracy", "drift loss",
    "trained", "evidence",  "tokens/s",  "memory, MB",   "s/run"};

std::vector<std::string> cells_of(const table_of_rank& t, const experiment::result& r) {
  const row one = row_of(t, r);
  const common::summary_row& s = *one.summary;
  return {s.name,
          common::rate_cell(s),
          common::with_interval(s.test_loss, 3),
          with_sign(one.difference, 3),
          common::with_interval(s.test_accuracy, 3),
          common::with_interval(one.drift, 3),
          apps::console::grouped(s.trainable_parameters),
          std::to_string(one.calibration),
          apps::console::fixed(one.tokens_per_second, 0),
          apps::console::fixed(one.memory, 0),
          apps::console::fixed(s.seconds, 0)};
}

std::string title_of(const table_of_rank& t) {
  return fmt::format("Rank {}", t.rank);
}

// What was run, in one paragraph.
std::string setting_of(const report_contents& c) {
  const training_settings& s = c.wanted->training;
  return fmt::format(
      "{}. Adapters on every linear layer of the blocks. {} steps; {}. {}. {}. Learning rates "
      "{}{}.",
      c.done->model().name(), s.steps, to_text(s), data_of(c.done->data()), describe_backend(),
      apps::console::joined(c.wanted->amount.rates, ", "),
      c.wanted->amount.most_added_rates > 0 ? ", more where the best is at the edge" : "");
}

// What the models wrote: a row a word, of the first seed.
std::vector<std::vector<std::string>> sample_rows(const report_contents& c,
                                                  const table_of_rank& t) {
  std::vector<std::vector<std::string>> rows;
  const data_set& set = c.done->data();
  const auto count = std::min(std::size_t(c.wanted->training.samples), set.asked.size());
  for (std::size_t i = 0; i < count; ++i) {
    rows.push_back({set.asked[i].word, "the dictionary", set.asked[i].gloss});
    for (const experiment::result& r : t.results) {
      for (const run_record* const run : r.runs) {
        if (run->rate == r.summary.rate && run->base == 0 && i < run->samples.size()) {
          const std::string& text = run->samples[i];
          rows.push_back({"", r.method->name, text.empty() ? "(a line end at once)" : text});
        }
      }
    }
  }
  return rows;
}
}  // namespace

double measure_of(const run_record& r, const char* name) {
  const auto found = r.measures.find(name);
  return found == r.measures.end() ? common::not_a_number : found->second;
}
double drift_of(const run_record& r) {
  return measure_of(r, drift_loss);
}

method_means means_of(const experiment::result& r) {
  method_means m;
  m.drift = common::mean_with_interval(
      common::values_of(common::by_base(r.runs, r.summary.rate, drift_of)));
  m.tokens_per_second =
      mean_at_rate(r, [](const run_record& x) { return measure_of(x, tokens_per_second); });
  m.memory = mean_at_rate(r, [](const run_record& x) { return measure_of(x, peak_memory); });
  for (const run_record* const run : r.runs) {
    m.calibration = std::max(m.calibration, run->calibration_steps);
  }
  return m;
}

std::string data_of(const data_set& set) {
  return fmt::format(
      "definitions: {} to train on, {} for validation, {} for test ({} tokens that count), {} "
      "longer "
      "than {} tokens left out; drift on {} quotations ({} tokens)",
      set.train.size(), set.validation.size(), set.test.size(), counted_in(set.test), set.left_out,
      longest_text, set.drift.size(), counted_in(set.drift));
}

std::string console_table(const report_contents& c, const table_of_rank& t) {
  std::vector<apps::console::column> columns;
  for (const std::string& title : titles) {
    columns.push_back(
        {title, columns.empty() ? apps::console::align::left : apps::console::align::right});
  }
  apps::console::table table(columns);
  for (const experiment::result& r : t.results) {
    table.add(cells_of(t, r));
  }
  return fmt::format("{} ({} at a time)\n\n{}", title_of(t), c.runs_at_a_time, table.to_string());
}

void write_tables(const std::filesystem::path& path, const report_contents& c) {
  const auto number = [](double value) {
    return std::isfinite(value) ? apps::console::to_text(value) : std::string();
  };
  std::ofstream file(path);
  file << "rank,method,name,rate,rate_at_edge,seeds,validation_loss,test_loss,test_loss_half95,"
          "minus_lora,minus_lora_half95,token_accuracy,token_accuracy_half95,drift_loss,"
          "drift_loss_half95,trainable_parameters,calibration_steps,tokens_per_second,"
          "peak_memory_mb,seconds_per_run\n";
  for (const table_of_rank& t : c.tables) {
    for (const experiment::result& r : t.results) {
      const row one = row_of(t, r);
      const common::summary_row& s = *one.summary;
      file << t.rank << ',' << s.method << ',' << common::csv_field(s.name) << ',' << number(s.rate)
           << ',' << (s.at_edge ? 1 : 0) << ',' << s.bases << ',' << number(s.validation_loss)
           << ',' << number(s.test_loss.mean) << ',' << number(s.test_loss.half) << ','
           << number(one.difference.mean) << ',' << number(one.difference.half) << ','
           << number(s.test_accuracy.mean) << ',' << number(s.test_accuracy.half) << ','
           << number(one.drift.mean) << ',' << number(one.drift.half) << ','
           << s.trainable_parameters << ',' << one.calibration << ','
           << number(one.tokens_per_second) << ',' << number(one.memory) << ',' << number(s.seconds)
           << '\n';
    }
  }
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

std::vector<std::string> findings(const report_contents& c) {
  std::vector<std::string> all;
  for (const table_of_rank& t : c.tables) {
    for (const experiment::result& r : t.results) {
      const estimate difference = common::above_reference(t.results, r, test_loss);
      if (std::isfinite(difference.mean) && r.method->has_rate) {
        all.push_back(fmt::format("{}: {} against LoRA, Kaiming: eval loss {} ({}).", title_of(t),
                                  r.summary.name, with_sign(difference, 3),
                                  common::verdict(difference)));
      }
    }
  }
  return all;
}

std::vector<std::string> caveats(const report_contents& c) {
  const preset& a = c.wanted->amount;
  std::vector<std::string> all = {
      "Losses are means over the tokens of the glosses and their line ends. The learning rate of "
      "each "
      "method is chosen by its mean validation loss; test results choose nothing. All methods have "
      "the same steps (what a start takes of the data is charged) and the same batches a seed.",
      fmt::format(
          "Intervals are t-intervals over {} on one split: they hold the chance of the "
          "order of the definitions and of a method's draws, not that of the sample of test "
          "words. Differences are paired by seed.",
          common::seeds_of(c.tables, a.seeds)),
      "Every word and every text of a word is in one part only. Relatives may be in two, and texts "
      "share phrases; the model may have read the dictionary before.",
      "Drift is the loss on quotations from literature that no method trains on; the model as it "
      "was "
      "says from where it drifts.",
      fmt::format(
          "Tokens a second are those of the training, calibration included, by processor time "
          "of one thread, on a GPU by the clock. Memory is the peak of the whole process, on a GPU "
          "of its matrices, while {} ran at a time; the "
          "base's is in it.",
          c.runs_at_a_time == 1 ? std::string("one run")
                                : fmt::format("{} runs", c.runs_at_a_time)),
  };
  if (a.steps * a.batch < int(c.done->data().train.size())) {
    all.push_back(fmt::format("A run sees {} of {} definitions once.", a.steps * a.batch,
                              c.done->data().train.size()));
  }
  const auto missing = [&](const std::vector<int>& ranks) {
    std::string text;
    for (const int rank : ranks) {
      if (std::find(a.ranks.begin(), a.ranks.end(), rank) == a.ranks.end()) {
        text += (text.empty() ? "" : ", ") + std::to_string(rank);
      }
    }
    return text;
  };
  const std::string ranks = missing(full_preset.ranks);
  if (!ranks.empty()) {
    all.push_back("Left out here: rank " + ranks + ".");
  }
  if (!c.wanted->left_out.empty()) {
    all.push_back("Methods left out here: " + common::listed(c.wanted->left_out) + ".");
  }
  if (!c.left_out.empty()) {
    all.push_back(c.left_out);
  }
  return all;
}

std::string write_report(const std::filesystem::path& directory, const report_contents& c) {
  common::report_document document{
      .title = "preheat: a language model learns to define words",
      .heading = "A language model learns to define words",
      .incomplete = c.incomplete,
      .setting = setting_of(c),
      .tables = {},
      .findings = findings(c),
      .more_tables = {},
      .caveats = caveats(c),
      .credits = fmt::format("HRP is due to the authors of arXiv 2502.07739; the model is "
                             "SmolLM2-135M-Instruct, what it learns are {}.",
                             c.wanted->taught->source)};
  for (const table_of_rank& t : c.tables) {
    document.tables.push_back(
        common::table_of(title_of(t), titles, t.results,
                         [&](const experiment::result& r) { return cells_of(t, r); }));
    document.more_tables.push_back({.title = "Definitions, before and after; " + title_of(t),
                                    .heads = {"word", "written by", "definition"},
                                    .rows = sample_rows(c, t),
                                    .of_texts = true});
  }
  return common::write_report(directory, document, figures_of(c));
}

}  // namespace studies::lm
