// The words of catalogue.txt, the list of the methods that studies compare, and a method's entry in
// the list of one study.
#pragma once
#include <functional>
#include <string>

namespace studies::common {

// What a method changes of LoRA; methods of one family have shades of one colour in the figures.
enum class family {
  reference,
  random,      // a start without a look at the weight or the data
  weight,      // a start from the weight
  preheated,   // a start from data: a short run, a gradient, the layers' inputs
  one_factor,  // one factor is frozen
  chained,     // several adapters, one after the other
  optimized,   // the update rule
  structured   // the adapter or its ranks
};

// A published system: more than a start.
inline bool is_system(family f) {
  return f == family::chained || f == family::optimized || f == family::structured;
}

// What a row is, beyond its method.
enum row_flags : unsigned {
  usual = 0,
  further = 1,      // compare: run only when it is named, or all are
  reduced = 2,      // text: in the reduced grid
  at_row_norm = 4,  // compare: also with all directions at one given norm
};

// The rank at which a method trains about as many numbers as LoRA at rank r.
using rank_rule = int (*)(int r);
inline constexpr rank_rule same_rank = [](int r) { return r; };
inline constexpr rank_rule twice = [](int r) { return 2 * r; };          // one factor is trained
inline constexpr rank_rule half_more = [](int r) { return r + r / 2; };  // before a third is pruned
inline constexpr rank_rule twice_but_one = [](int r) {
  return 2 * r - 1;
};  // one rank whole, others half

// Run: a function that makes one run.
template <class Run>
struct method_entry {
  std::string id;        // on the command line and in files
  std::string name;      // for readers
  std::string citation;  // where it is from, and what its settings are
  family kind = family::random;
  bool by_default = true;   // false: run only when it is named, or all are
  bool equal_norm = false;  // with all directions of the same given norm
  bool has_rank = true;     // false: one run serves all ranks
  bool has_rate = true;     // false: nothing is trained
  bool by_chance = true;    // false: one run serves all seeds
  bool has_row_norm = false;  // its init can scale all directions to one norm
  bool preheats = false;      // its init trains another method first
  int preheat_steps = 0;      // so many steps, if they are set and not a share of the run's
  Run run{};
};

}  // namespace studies::common
