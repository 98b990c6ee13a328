// Tables for people, rows for programs, and pictures, of what the study found.
#pragma once
#include <string>
#include <vector>

#include "../console/gnuplot.hpp"
#include "study.hpp"

namespace preheat_map {

// Gain in test accuracy (of a teacher: in the share explained) over random directions of the same
// size, by preheating rank and steps.
std::string map_table(const trials& t, const amount& a, const map_place& m);
// Classic preheating: the right side's accuracy minus the left's.
std::string sides_table(const trials& t, const amount& a);
std::string choice_table(const std::vector<candidate>& ranked, const candidate& chosen);
std::string size_table(const trials& t, const candidate& chosen, const amount& a, const place& p);
std::string energy_text(const energy_table& e);
std::string confirmed_table(const trials& t, const place& p, const std::vector<cell>& cells);

// Every cell of every place, one line each.
class csv {
 public:
  void add(const trials& t, const std::string& part, const place& p, const cell& c,
           const cell& reference);
  const std::string& text() const { return text_; }

 private:
  std::string text_ =
      "part,problem,steps,start,preheating_rank,preheating_steps,row_norm,rate,rate_at_edge,bases,"
      "validation_loss,test_accuracy,test_accuracy_half95,reference,gain,gain_half95\n";
};
std::string energy_csv(const energy_table& e);

std::vector<console::picture> pictures(const trials& t, const amount& a, const candidate& chosen,
                                       const energy_table& e);

// "SGD on A alone, R = 16 r, 3.3 % of the steps": a choice for readers.
std::string describe(const candidate& c);

}  // namespace preheat_map
