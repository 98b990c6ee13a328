#include "explanations.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report.hpp"

namespace studies::lm {

std::string plain_table(const std::vector<condition>& conditions) {
  markdown_table table(
      {"condition", "HRP", "the plain reading", "eval loss, HRP's minus the other's"});
  for (const condition& c : conditions) {
    const start_runs* const ours = c.find("hrp");
    const auto plain = std::find_if(c.starts.begin(), c.starts.end(), [](const start_runs& s) {
      return s.origin == "hrp_classic" && s.widely_run;
    });
    if (ours != nullptr && plain != c.starts.end()) {
      const std::string cell =
          difference_cell(common::paired_differences(ours->chosen, plain->chosen, test_loss_of));
      if (!cell.empty()) {
        table.add({c.title(), common::rate_cell(ours->summary),
                   plain->method.name + ", " + common::rate_cell(plain->summary), cell});
      }
    }
  }
  return table.to_string();
}

std::string drift_sentences(const std::vector<condition>& conditions,
                            const std::vector<comparison>& compared) {
  std::string text;
  for (const condition& c : conditions) {
    std::vector<double> gains, drifts;
    for (const comparison& one : compared) {
      if (one.where == &c) {
        gains.push_back(one.difference.mean);
        drifts.push_back(common::mean(above_kaiming(c, *one.who, drift_of)));
      }
    }
    if (gains.size() >= 4) {
      text += fmt::format("- {}: over {} starts the rank correlation of loss and drift is {:.2f}\n",
                          c.title(), gains.size(), common::rank_correlation(gains, drifts));
    }
  }
  return text.empty() ? text : text + "\n";
}

std::string prediction_text(const std::vector<condition>& conditions) {
  markdown_table table({"condition", "start", "λ", "predicted rate", "tuned rate"});
  std::string sentences;
  for (const condition& c : conditions) {
    const std::vector<predicted_rate> rates = predicted_rates(c);
    std::vector<double> inverse, tuned;
    double logarithms = 0, same = 0;
    for (const predicted_rate& r : rates) {
      table.add({c.title(), r.who->method.name, fmt::format("{:.4g}", r.curvature),
                 fmt::format("{:.2g}", r.predicted), fmt::format("{}", r.tuned)});
      inverse.push_back(1 / r.curvature);
      tuned.push_back(r.tuned);
      logarithms += std::abs(std::log(r.predicted / r.tuned));
      same += std::abs(std::log(rates.front().tuned / r.tuned));
    }
    if (rates.size() > 2) {
      const double others = double(rates.size() - 1);
      sentences += fmt::format(
          "- {}: the prediction is wrong by a factor of {:.2f} on average (geometric), the same "
          "rate "
          "for all by {:.2f}; rank correlation {:.2f}, {} starts\n",
          c.title(), std::exp(logarithms / others), std::exp(same / others),
          common::rank_correlation(inverse, tuned), rates.size());
    }
  }
  return table.to_string() + sentences + (sentences.empty() ? "" : "\n");
}

}  // namespace studies::lm
