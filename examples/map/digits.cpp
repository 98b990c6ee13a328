#include "../compare/adapt.hpp"
#include "problems.hpp"
#include "with_method.hpp"

namespace preheat_map {

comparison::run_outcome run_on_digits(const cell& c, const comparison::pretrained_base& base,
                                      const comparison::shift_data& data,
                                      const comparison::training_settings& s,
                                      const comparison::run_definition& run) {
  return with_method(c, [&](auto method) {
    return comparison::adapt(method, comparison::same_rank, base, data, s, run);
  });
}

}  // namespace preheat_map
