// One way to start a LoRA adapter, as a value: random directions of some kind and size, or HRP's
// with everything that it leaves open. with_method.hpp gives the library's type for it.
#pragma once
#include <string>

#include "apps/console/text_table.hpp"

namespace studies::map {

enum class start { kaiming, gaussian, orthonormal, preheated };
enum class preheating_kind { train_a, train_b, classic };
enum class optimizer { sgd, adam };
// Of classic preheating; the other kinds read the singular vectors of the factor that they train.
enum class singular_side { right, left };

struct start_config {
  start from = start::preheated;
  // Of a preheated start:
  preheating_kind preheating = preheating_kind::train_a;
  map::optimizer optimizer = optimizer::sgd;
  map::singular_side side = singular_side::right;
  int rank = 0;   // R
  int steps = 0;  // T_pre, taken out of the run's steps
  // Of every direction; 0: the init's own size (1 for HRP and orthonormal rows).
  double row_norm = 0;

  bool operator==(const start_config&) const = default;
};

inline std::string kind_of(const start_config& c) {
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
  switch (c.preheating) {
    case preheating_kind::train_a:
      return "train A, " + optimizer;
    case preheating_kind::train_b:
      return "train B, " + optimizer;
    case preheating_kind::classic:
      break;
  }
  return "classic, " + optimizer + (c.side == singular_side::right ? ", right" : ", left");
}

// Differs for different configs; the method's identifier in the log.
inline std::string id_of(const start_config& c) {
  std::string id = kind_of(c);
  if (c.from == start::preheated) {
    id += ", R " + std::to_string(c.rank) + ", " + std::to_string(c.steps) + " steps";
  }
  return c.row_norm > 0 ? id + ", norm " + apps::console::to_text(c.row_norm) : id;
}

}  // namespace studies::map
