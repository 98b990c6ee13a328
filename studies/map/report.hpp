// Tables for people, rows for programs, and pictures, of what the study found.
#pragma once
#include <string>
#include <vector>

#include "apps/console/gnuplot.hpp"
#include "study.hpp"

namespace studies::map {

// Gain in test accuracy (of a teacher: in the share explained) over random directions of the same
// size, by preheating rank and steps.
std::string map_table(const trials& t, const amount& a, const map_setup& m);
// Classic preheating: the right side's accuracy minus the left's.
std::string sides_table(const trials& t, const amount& a);
std::string choice_table(const std::vector<scored_config>& ranked, const scored_config& chosen);
std::string size_table(const trials& t, const scored_config& chosen, const amount& a,
                       const setup& p);
std::string energy_text(const energy_table& e);
std::string confirmed_table(const trials& t, const setup& p,
                            const std::vector<start_config>& configs);

// Every start in every setup, one line per pair.
class csv {
 public:
  void add(const trials& t, const std::string& part, const setup& p, const start_config& c,
           const start_config& reference);
  const std::string& text() const { return text_; }

 private:
  std::string text_ =
      "part,problem,steps,start,preheating_rank,preheating_steps,row_norm,rate,rate_at_edge,bases,"
      "validation_loss,test_accuracy,test_accuracy_half95,reference,gain,gain_half95\n";
};
std::string energy_csv(const energy_table& e);

std::vector<apps::console::picture> pictures(const trials& t, const amount& a,
                                             const scored_config& chosen, const energy_table& e);

// "SGD on A alone, R = 16 r, 3.3 % of the steps": a choice for readers.
std::string describe(const scored_config& c);

}  // namespace studies::map
