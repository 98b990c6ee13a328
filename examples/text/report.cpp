#include "report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "../compare/figures.hpp"
#include "../compare/table.hpp"

namespace sentiment {
namespace {

using comparison::accuracy_point;
using comparison::figure_line;
using comparison::figure_panel;
using comparison::line_style;
using console::picture;

// ----------------------------------------------------------------------------------------- figures

std::span<const char* const> colours(family f) {
  static constexpr std::array reference = {"#000000", "#7f7f7f"};
  static constexpr std::array random = {"#08519c", "#17a2d8", "#6b8cff"};
  static constexpr std::array weight = {"#1b7837", "#7fbf7b"};
  static constexpr std::array data = {"#d7191c", "#fd8d3c", "#e7298a", "#8c2d04", "#e6ab02"};
  static constexpr std::array system = {"#54278f", "#006d6f", "#808000", "#5c4033", "#20b2aa",
                                        "#9e9ac8", "#a0522d", "#9acd32", "#3d3a00"};
  switch (f) {
    case family::reference:
      return reference;
    case family::random:
      return random;
    case family::weight:
      return weight;
    case family::data:
      return data;
    case family::system:
      break;
  }
  return system;
}

std::map<std::string, line_style> choose_styles(const std::vector<method_entry>& methods) {
  constexpr std::array points = {7, 5, 9, 11};  // gnuplot's
  std::map<family, std::size_t> used;
  std::map<std::string, line_style> styles;
  for (const method_entry& m : methods) {
    const std::size_t number = used[m.kind]++;
    const auto palette = colours(m.kind);
    styles[m.id] = {palette[number % palette.size()], points[number % points.size()], 1};
  }
  return styles;
}

std::string title_of(const table_of_set& t) {
  return fmt::format("{}, rank {}", t.set->title, t.rank);
}

// The figures of one rank, a panel a set.
class figures_of_rank {
 public:
  figures_of_rank(const report_contents& c, int rank)
      : methods_(c.wanted->methods),
        styles_(choose_styles(methods_)),
        suffix_(c.wanted->amount.ranks.size() > 1 ? fmt::format("-rank{}", rank) : "") {
    for (const table_of_set& t : c.tables) {
      if (t.rank == rank) {
        tables_.push_back(&t);
      }
    }
  }

  picture accuracy() const {
    std::vector<figure_panel<accuracy_point>> panels;
    for (const table_of_set* const t : tables_) {
      auto& panel = panels.emplace_back();
      panel.title = title_of(*t);
      for (const experiment::result& r : t->results) {
        panel.items.push_back({r.method->name, styles_.at(r.method->id), r.summary.test_accuracy});
      }
    }
    return comparison::accuracy_figure(
        "accuracy" + suffix_, "Test accuracy, mean and 95 % interval over seeds", program, panels);
  }

  // The mean over seeds at the chosen rate.
  picture loss(const std::string& name, std::vector<comparison::curve_point> run_outcome::*curve,
               bool with_points) const {
    const std::string axes =
        "  set xrange [0:*] noextend\n"
        "  set xlabel \"training steps, everything charged\" offset 0,0.3\n";
    return lines({.name = name + suffix_,
                  .title = name + " loss at the chosen rate, mean over seeds",
                  .program = program,
                  .axes = axes + "  set ylabel \"" + name + " loss\"\n",
                  .with_points = with_points},
                 [&](const experiment::result& r) {
                   return comparison::mean_curve(r.runs, r.summary.rate, curve);
                 });
  }

  picture rates() const {
    return lines(
        {.name = "rates" + suffix_,
         .title = "Test accuracy against learning rate, mean over seeds",
         .program = program,
         .axes = "  set logscale x\n  set xrange [*:*] noextend\n  set format x \"%g\"\n"
                 "  set xtics (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)\n"
                 "  set xlabel \"learning rate\" offset 0,0.3\n"
                 "  set ylabel \"test accuracy\"\n",
         .with_points = true},
        [](const experiment::result& r) {
          return r.method->has_rate ? comparison::accuracy_by_rate(r.runs) : std::string();
        });
  }

 private:
  static constexpr const char* program = "preheat_text";

  template <class Points>
  picture lines(const comparison::line_figure_settings& settings, Points points) const {
    std::vector<figure_panel<figure_line>> panels;
    for (const table_of_set* const t : tables_) {
      auto& panel = panels.emplace_back();
      panel.title = title_of(*t);
      for (const experiment::result& r : t->results) {
        panel.items.push_back({r.method->name, styles_.at(r.method->id), points(r)});
      }
    }
    std::vector<std::string> legend;
    for (const method_entry& m : methods_) {
      legend.push_back(m.name);
    }
    return comparison::line_figure(settings, legend, panels);
  }

  const std::vector<method_entry>& methods_;
  std::map<std::string, line_style> styles_;
  std::string suffix_;
  std::vector<const table_of_set*> tables_;
};

std::vector<picture> figures_of(const report_contents& c) {
  std::vector<picture> all;
  for (const int rank : c.wanted->amount.ranks) {
    const bool has_table = std::any_of(c.tables.begin(), c.tables.end(),
                                       [&](const table_of_set& t) { return t.rank == rank; });
    if (!has_table) {
      continue;
    }
    const figures_of_rank figures(c, rank);
    all.push_back(figures.accuracy());
    all.push_back(figures.loss("training", &run_outcome::training_curve, false));
    if (c.wanted->training.evaluations > 1) {
      all.push_back(figures.loss("validation", &run_outcome::curve, true));
    }
    all.push_back(figures.rates());
  }
  return all;
}

// ------------------------------------------------------------------------------------------- HTML

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// A drawing to stand inside a page: without the XML declaration, and with names of its own, because
// gnuplot gives the same ones to the parts of every picture.
std::string inline_svg(const std::filesystem::path& file, const std::string& prefix) {
  std::ifstream in(file);
  std::string svg{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const std::size_t begin = svg.find("<svg");
  if (begin == std::string::npos) {
    return {};
  }
  svg.erase(0, begin);
  replace_all(svg, "id='", "id='" + prefix);
  replace_all(svg, "id=\"", "id=\"" + prefix);
  replace_all(svg, "href='#", "href='#" + prefix);
  replace_all(svg, "url(#", "url(#" + prefix);
  return svg;
}

std::string html_table(const table_of_set& t) {
  std::string html = fmt::format(
      "<h2>{}</h2>\n<table>\n<tr><th>method<th>best rate<th>test accuracy<th>gain over "
      "LoRA<th>test "
      "loss<th>last training loss<th>trained<th>evidence steps<th>s/run</tr>\n",
      escaped(title_of(t)));
  for (const experiment::result& r : t.results) {
    const summary_row& row = r.summary;
    std::vector<double> last;
    int evidence = 0;
    for (const comparison::run_record* const run : r.runs) {
      if (run->rate == row.rate && !run->training_curve.empty()) {
        last.push_back(run->training_curve.back().loss);
      }
      evidence = std::max(evidence, run->evidence_steps);
    }
    std::string rate = "none: diverged";
    if (!row.failed) {
      rate = row.rate > 0 ? console::to_text(row.rate) + (row.at_edge ? "*" : "") : "–";
    }
    html += fmt::format(
        "<tr title=\"{}\"><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
        escaped(r.method->citation), escaped(row.name), rate,
        comparison::with_interval(row.test_accuracy, 3), comparison::with_interval(row.gain, 3),
        comparison::with_interval(row.test_loss, 3), console::fixed(comparison::mean(last), 3),
        r.method->has_rate ? console::grouped(row.trainable_parameters) : "–", evidence,
        console::fixed(row.seconds, 1));
  }
  return html + "</table>\n";
}

constexpr const char* style_sheet =
    R"(body{font:16px/1.5 "DejaVu Sans",Verdana,sans-serif;max-width:1150px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}
table{border-collapse:collapse;font-size:.85em}
th,td{padding:.25em .8em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
svg{max-width:100%;height:auto}.note{background:#fff6df;padding:.6em 1em}code{font-size:.9em}
)";

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) {
    all += (all.empty() ? "" : ", ") + text;
  }
  return all;
}

}  // namespace

std::vector<std::string> caveats(const report_contents& c) {
  const preset& a = c.wanted->amount;
  std::vector<std::string> all = {
      "The learning rate of each method is chosen by its mean validation loss; test results choose "
      "nothing. All methods have the same steps (what a start takes of the data is charged), the "
      "same head, starting alike and trained at the same rate, and the same batches a seed.",
      fmt::format(
          "Intervals are t-intervals over {} {} on one split: they hold the chance of the head, "
          "of the order of the sentences and of a method's draws, not that of the sample of "
          "test sentences, whose share in an accuracy near 0.8 is about ±{}. Gains are paired "
          "by seed.",
          a.seeds, a.seeds == 1 ? "seed" : "seeds",
          console::fixed(1.96 * std::sqrt(0.8 * 0.2 / double(a.sizes.test)), 3)),
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
  const std::vector<picture> pictures = figures_of(c);
  const std::string drawn = console::draw_pictures(figures, pictures);

  const training_settings& s = c.wanted->training;
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>preheat: methods on "
      "sentences</title>\n<style>{}</style>\n<h1>Starts and methods of LoRA on the sentiment of "
      "sentences</h1>\n",
      style_sheet);
  if (!c.incomplete.empty()) {
    html += fmt::format("<p class=\"note\">{}</p>\n", escaped(c.incomplete));
  }
  html += fmt::format(
      "<p>{}; adapters on every linear layer. {} steps of {} sentences; {}. {}. Learning rates {}. "
      "The "
      "head has {} numbers, counted apart.</p>\n",
      escaped(c.done->model_name()), s.steps, s.batch, escaped(to_text(s)),
      escaped(describe_backend()), console::joined(c.wanted->amount.rates, ", "),
      c.done->head_parameters());
  html += "<table>\n<tr><th>set<th>rated<th>train<th>validation<th>test<th>positive in test</tr>\n";
  for (const auto& [name, set] : c.done->sets()) {
    html +=
        fmt::format("<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{:.3f}</tr>\n", set.of->title, set.rated,
                    set.train.size(), set.validation.size(), set.test.size(), set.positive());
  }
  html += "</table>\n";
  for (const table_of_set& t : c.tables) {
    html += html_table(t);
  }
  html +=
      "<p>* the best rate is the smallest or largest that was tried. A row's title has its source "
      "and settings.</p>\n";
  for (std::size_t k = 0; k < pictures.size(); ++k) {
    html += inline_svg(figures / (pictures[k].name + ".svg"), fmt::format("f{}-", k));
  }
  html += "<h2>Read with care</h2>\n<ul>\n";
  for (const std::string& text : caveats(c)) {
    html += fmt::format("<li>{}</li>\n", escaped(text));
  }
  html +=
      "</ul>\n<p>HRP is due to the authors of arXiv 2502.07739; the sentences to Hutto and "
      "Gilbert, "
      "ICWSM 2014; the encoder is all-MiniLM-L6-v2.</p>\n</html>\n";
  console::write_file(directory / "report.html", html);
  return fmt::format("report: {}\n{}", (directory / "report.html").string(), drawn);
}

}  // namespace sentiment
