#include "report.hpp"

#include <cmath>

#include <fmt/format.h>

#include "studies/common/table.hpp"

namespace studies::map {

using apps::console::align;
using apps::console::fixed;
using apps::console::table;
using common::estimate;
using common::with_interval;

namespace {

std::string with_sign(const estimate& e) {
  const std::string text = with_interval(e, 3);
  return std::isfinite(e.mean) && text[0] != '-' ? "+" + text : text;
}

std::string percent(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

std::vector<apps::console::column> columns_of_shares(const amount& a, int steps,
                                                     std::vector<apps::console::column> first) {
  for (const double share : shares(a)) {
    first.push_back({fmt::format("{} steps", preheating_steps(share, steps))});
  }
  return first;
}

}  // namespace

std::string describe(const scored_config& c) {
  return fmt::format("{}, R = {} r, {} of the steps", kind_of(c.kind), c.rank / main_rank,
                     percent(c.share));
}

std::string map_table(const trials& t, const amount& a, const map_setup& m) {
  table out(columns_of_shares(a, m.at.steps, {{"preheating", align::left}, {"R"}}));
  for (const start_config& kind : m.kinds) {
    for (const int rank : preheating_ranks(a)) {
      std::vector<std::string> row = {kind_of(kind), std::to_string(rank)};
      for (const double share : shares(a)) {
        const start_config c = preheated_config(kind, rank, share, m.at.steps);
        row.push_back(with_sign(gain(t, m.at, c, random_like(c))));
      }
      out.add(row);
    }
  }
  const estimate random =
      common::mean_with_interval(t.of(m.at, {.from = start::orthonormal}).test_accuracy);
  std::string text = fmt::format(
      "\n{}, {} steps in all · rank {} · gain in {} over random orthonormal directions ({})\n",
      m.at.problem, m.at.steps, main_rank,
      is_teacher(m.at) ? "the share explained" : "test accuracy", with_interval(random, 3));
  if (is_teacher(m.at)) {
    text += fmt::format("at best {:.3f} can be explained\n", best_share(spectrum_of(m.at)));
  }
  return text + "\n" + out.to_string();
}

std::string sides_table(const trials& t, const amount& a) {
  table out(
      columns_of_shares(a, 150, {{"problem", align::left}, {"classic by", align::left}, {"R"}}));
  for (const map_setup& m : map_setups(a)) {
    if (m.at.steps != 150) {
      continue;
    }
    for (const start_config& right : m.kinds) {
      start_config left = right;
      left.side = singular_side::left;
      const bool both = right.preheating == preheating_kind::classic &&
                        right.side == singular_side::right &&
                        std::count(m.kinds.begin(), m.kinds.end(), left) > 0;
      if (!both) {
        continue;
      }
      for (const int rank : preheating_ranks(a)) {
        std::vector<std::string> row = {
            m.at.problem, right.optimizer == optimizer::sgd ? "SGD" : "Adam", std::to_string(rank)};
        for (const double share : shares(a)) {
          row.push_back(with_sign(gain(t, m.at, preheated_config(right, rank, share, 150),
                                       preheated_config(left, rank, share, 150))));
        }
        out.add(row);
      }
    }
  }
  if (out.empty()) {
    return {};
  }
  return "\nclassic preheating: the right side's accuracy minus the left side's\n\n" +
         out.to_string();
}

std::string choice_table(const std::vector<scored_config>& ranked, const scored_config& chosen) {
  constexpr std::size_t shown = 12;
  table out({{"preheating", align::left}, {"log(loss/random's)"}, {"standard error"}});
  for (std::size_t i = 0; i < std::min(shown, ranked.size()); ++i) {
    out.add({describe(ranked[i]), fixed(ranked[i].score, 3), fixed(ranked[i].standard_error, 3)});
  }
  return fmt::format(
      "\nthe best by validation loss over the setups that choose\n\n{}\nchosen: {}\n(the cheapest "
      "within a standard error of the best; its own score {})\n",
      out.to_string(), describe(chosen), fixed(chosen.score, 3));
}

std::string size_table(const trials& t, const scored_config& chosen, const amount& a,
                       const setup& p) {
  table out({{"rows of norm"},
             {"orthonormal"},
             {"gaussian"},
             {"preheated"},
             {"preheated − orthonormal"}});
  const auto accuracy = [&](const start_config& c) {
    return with_interval(common::mean_with_interval(t.of(p, c).test_accuracy), 3);
  };
  for (const double norm : row_norms(a)) {
    start_config preheated = preheated_config(chosen.kind, chosen.rank, chosen.share, p.steps);
    preheated.row_norm = norm;
    const start_config random{.from = start::orthonormal, .row_norm = norm};
    out.add({apps::console::to_text(norm), accuracy(random),
             accuracy({.from = start::gaussian, .row_norm = norm}), accuracy(preheated),
             with_sign(gain(t, p, preheated, random))});
  }
  return fmt::format(
      "\n{}, {} steps · {} by the size of the rows; at their own size Kaiming {}, gaussian "
      "{}\n\n{}",
      p.problem, p.steps, is_teacher(p) ? "share explained" : "test accuracy",
      accuracy({.from = start::kaiming}), accuracy({.from = start::gaussian}), out.to_string());
}

std::string energy_text(const energy_table& e) {
  table out({{"directions of A", align::left}, {"before training"}, {"after training"}});
  const auto mean = [](const std::vector<double>& values) {
    return with_interval(common::mean_with_interval(values), 3);
  };
  for (const energy_row& row : e.rows) {
    out.add({id_of(row.start), mean(row.at_start), mean(row.at_end)});
  }
  return fmt::format(
      "\nshare of the energy of full fine-tuning's ΔW in the rows of A (rotated; the best possible "
      "is {})\n\n{}",
      mean(e.best), out.to_string());
}

std::string confirmed_table(const trials& t, const setup& p,
                            const std::vector<start_config>& configs) {
  table out({{"start", align::left}, {"rate"}, {"test accuracy"}, {"gain over Kaiming"}});
  for (const start_config& c : configs) {
    const trials::outcome o = t.of(p, c);
    out.add({id_of(c), apps::console::to_text(o.rate) + (o.at_edge ? "*" : " "),
             with_interval(common::mean_with_interval(o.test_accuracy), 3),
             c == configs.front() ? "–" : with_sign(gain(t, p, c, configs.front()))});
  }
  return fmt::format("\nconfirmed on {}, {} steps\n\n{}", p.problem, p.steps, out.to_string());
}

void csv::add(const trials& t, const std::string& part, const setup& p, const start_config& c,
              const start_config& reference) {
  const trials::outcome o = t.of(p, c);
  const estimate accuracy = common::mean_with_interval(o.test_accuracy);
  const estimate g = gain(t, p, c, reference);
  text_ += fmt::format("{},{},{},\"{}\",{},{},{},{},{},{},{},{},{},\"{}\",{},{}\n", part, p.problem,
                       p.steps, kind_of(c), c.rank, c.steps, c.row_norm, o.rate, int(o.at_edge),
                       o.test_accuracy.size(), common::mean(o.validation_loss), accuracy.mean,
                       accuracy.half, id_of(reference), g.mean, g.half);
}

std::string energy_csv(const energy_table& e) {
  std::string text = "start,preheating_rank,preheating_steps,base,before,after,best\n";
  for (const energy_row& row : e.rows) {
    for (std::size_t b = 0; b < e.best.size(); ++b) {
      text += fmt::format("\"{}\",{},{},{},{},{},{}\n", kind_of(row.start), row.start.rank,
                          row.start.steps, b, row.at_start[b], row.at_end[b], e.best[b]);
    }
  }
  return text;
}

}  // namespace studies::map
