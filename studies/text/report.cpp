#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "studies/common/page.hpp"
#include "studies/common/table.hpp"

namespace studies::text {
namespace {

using common::escaped;
using common::estimate;
using common::html_list;
using common::html_row;
using common::inline_svg;
using common::markdown_row;

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) {
    all += (all.empty() ? "" : "; ") + text;
  }
  return all;
}

// "+0.012 ± 0.020"
std::string with_sign(const estimate& e, int decimals) {
  const std::string text = common::with_interval(e, decimals);
  return std::isfinite(e.mean) && text[0] != '-' ? "+" + text : text;
}

const experiment::result* reference_of(const table_of_set& t) {
  const auto found =
      std::find_if(t.results.begin(), t.results.end(),
                   [](const experiment::result& r) { return r.method->id == reference_method; });
  return found == t.results.end() ? nullptr : &*found;
}

// How much a number is above LoRA's, seed by seed.
template <class Number>
estimate above_reference(const table_of_set& t, const experiment::result& r, Number number) {
  const experiment::result* const reference = reference_of(t);
  return reference == nullptr || reference == &r
             ? estimate{}
             : common::paired_difference(r.runs, reference->runs, number);
}

// "3 seeds": those that the tables hold, which are fewer than wanted if the work was stopped.
std::string seeds_of(const report_contents& c) {
  int fewest = c.wanted->amount.seeds;
  int most = c.tables.empty() ? fewest : 0;
  for (const table_of_set& t : c.tables) {
    int seeds = 0;
    for (const experiment::result& r : t.results) {
      seeds = std::max(seeds, r.summary.bases);  // none for a method that failed
    }
    fewest = std::min(fewest, seeds);
    most = std::max(most, seeds);
  }
  return fewest == most ? fmt::format("{} {}", most, most == 1 ? "seed" : "seeds")
                        : fmt::format("{} to {} seeds", fewest, most);
}

// ------------------------------------------------------------------------------------------ tables

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
  std::string rate = "none: diverged";
  if (!row.failed) {
    rate = row.rate > 0 ? apps::console::to_text(row.rate) + (row.at_edge ? "*" : "") : "–";
  }
  return {row.name,
          rate,
          common::with_interval(row.test_accuracy, 3),
          with_sign(row.gain, 3),
          common::with_interval(row.test_loss, 3),
          apps::console::fixed(common::mean(last), 3),
          with_sign(above_reference(t, r, last_training_loss), 3),
          apps::console::grouped(row.trainable_parameters),
          std::to_string(evidence),
          apps::console::fixed(row.seconds, 1)};
}

// ------------------------------------------------------------------------------------------- HTML

std::string html_table(const table_of_set& t) {
  std::string html =
      fmt::format("<h2>{}</h2>\n<table>\n{}", escaped(title_of(t)), html_row(table_titles, "th"));
  for (const experiment::result& r : t.results) {
    html += html_row(cells_of(t, r), "td", r.method->citation);
  }
  return html + "</table>\n";
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

std::string page(const report_contents& c, const std::filesystem::path& figures,
                 std::span<const apps::console::picture> pictures) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>preheat: methods on "
      "sentences</title>\n<style>{}</style>\n<h1>Starts and methods of LoRA on the sentiment of "
      "sentences</h1>\n",
      common::style_sheet);
  if (!c.incomplete.empty()) {
    html += fmt::format("<p class=\"note\">{}</p>\n", escaped(c.incomplete));
  }
  html += fmt::format("<p>{}</p>\n", escaped(setting_of(c)));
  for (const table_of_set& t : c.tables) {
    html += html_table(t);
  }
  html +=
      "<p>* the best rate is the smallest or largest that was tried. A row's title has its source "
      "and settings.</p>\n";
  html += html_list(findings(c));
  for (std::size_t k = 0; k < pictures.size(); ++k) {
    html += inline_svg(figures / (pictures[k].name + ".svg"), fmt::format("f{}-", k));
  }
  html += "<h2>Read with care</h2>\n" + html_list(caveats(c));
  return html +
         "<p>HRP is due to the authors of arXiv 2502.07739; the sentences to Hutto and Gilbert, "
         "ICWSM "
         "2014; the encoder is all-MiniLM-L6-v2.</p>\n</html>\n";
}

// --------------------------------------------------------------------------------------- Markdown

std::string markdown(const report_contents& c) {
  std::string text = c.incomplete.empty() ? "" : "**" + c.incomplete + "**\n\n";
  text += setting_of(c) + "\n";
  for (const table_of_set& t : c.tables) {
    text += fmt::format("\n## {}\n\n{}", title_of(t), markdown_row(table_titles));
    text += markdown_row(std::vector<std::string>(table_titles.size(), "---"));
    for (const experiment::result& r : t.results) {
      text += markdown_row(cells_of(t, r));
    }
  }
  text += "\n\\* the best rate is the smallest or largest that was tried.\n\n";
  for (const std::string& finding : findings(c)) {
    text += "- " + finding + "\n";
  }
  text += "\n## Read with care\n\n";
  for (const std::string& caveat : caveats(c)) {
    text += "- " + caveat + "\n";
  }
  return text;
}

}  // namespace

std::string title_of(const table_of_set& t) {
  return fmt::format("{}, rank {}", t.set->title, t.rank);
}

double last_training_loss(const common::run_record& r) {
  return r.training_curve.empty() ? common::not_a_number : r.training_curve.back().loss;
}

std::vector<std::string> findings(const report_contents& c) {
  const auto verdict = [](const estimate& e) {
    const char* const direction = e.mean > 0 ? "higher" : "lower";
    return std::abs(e.mean) > e.half ? direction : "not shown to differ";
  };
  std::vector<std::string> all;
  for (const table_of_set& t : c.tables) {
    for (const experiment::result& r : t.results) {
      const estimate gain = r.summary.gain;
      const estimate loss = above_reference(t, r, last_training_loss);
      if (std::isfinite(gain.mean)) {
        all.push_back(fmt::format(
            "{}: {} against LoRA, Kaiming: test accuracy {} ({}), last training loss {} "
            "({}).",
            title_of(t), r.summary.name, with_sign(gain, 3), verdict(gain), with_sign(loss, 3),
            verdict(loss)));
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
          seeds_of(c), apps::console::fixed(1.96 * std::sqrt(0.8 * 0.2 / double(a.sizes.test)), 3)),
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
    all.push_back("Left out here: " + joined(c.wanted->left_out) + ".");
  }
  std::vector<std::string> sets;
  for (const set_description& s : all_sets) {
    const auto& run = c.wanted->sets;
    if (std::find(run.begin(), run.end(), &s) == run.end()) {
      sets.push_back(s.title);
    }
  }
  if (!sets.empty()) {
    all.push_back("Sets left out here: " + joined(sets) + ".");
  }
  return all;
}

std::string write_report(const std::filesystem::path& directory, const report_contents& c) {
  const std::filesystem::path figures = directory / "figures";
  const std::vector<apps::console::picture> pictures = figures_of(c);
  const std::string drawn = apps::console::draw_pictures(figures, pictures);
  apps::console::write_file(directory / "report.html", page(c, figures, pictures));
  apps::console::write_file(directory / "report.md", markdown(c));
  return fmt::format("report: {}, and as Markdown report.md\n{}",
                     (directory / "report.html").string(), drawn);
}

}  // namespace studies::text
