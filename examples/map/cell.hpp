// One way to start a LoRA adapter, as a value: random directions of some kind and size, or HRP's
// with everything that it leaves open. with_method.hpp gives the library's type for it.
#pragma once
#include <string>

#include "../console/text_table.hpp"

namespace preheat_map {

enum class start { kaiming, gaussian, orthonormal, preheated };
enum class warm { train_a, train_b, classic };
enum class optimizer { sgd, adam };
enum class side { right, left };  // of a classic warm run; the others read their trained factor's

struct cell {
  start from = start::preheated;
  // Of a preheated start:
  preheat_map::warm warm = warm::train_a;
  preheat_map::optimizer optimizer = optimizer::sgd;
  preheat_map::side side = side::right;
  int rank = 0;   // R
  int steps = 0;  // T_pre, taken out of the run's steps
  // Of every direction; 0: the init's own size (1 for HRP and orthonormal rows).
  double row_norm = 0;

  bool operator==(const cell&) const = default;
};

inline std::string kind_of(const cell& c) {
  switch (c.from) {
    case start::kaiming:
      return "Kaiming";
    case start::gaussian:
      return "gaussian";
    case start::orthonormal:
      return "orthonormal";
    case start::preheated:
      break;
  }
  const std::string optimizer = c.optimizer == optimizer::sgd ? "SGD" : "Adam";
  switch (c.warm) {
    case warm::train_a:
      return "train A, " + optimizer;
    case warm::train_b:
      return "train B, " + optimizer;
    case warm::classic:
      break;
  }
  return "classic, " + optimizer + (c.side == side::right ? ", right" : ", left");
}

// Unique among cells; the method's identifier in the log.
inline std::string id_of(const cell& c) {
  std::string id = kind_of(c);
  if (c.from == start::preheated) {
    id += ", R " + std::to_string(c.rank) + ", " + std::to_string(c.steps) + " steps";
  }
  return c.row_norm > 0 ? id + ", norm " + console::to_text(c.row_norm) : id;
}

}  // namespace preheat_map
