#include "problems.hpp"
#include "studies/digits/adapt.hpp"
#include "with_method.hpp"

namespace studies::map {

common::run_outcome run_on_digits(const start_config& c, const digits::base_model& base,
                                  const digits::shift_data& data,
                                  const digits::training_settings& s,
                                  const common::run_definition& run) {
  return with_method(
      c, [&](auto method) { return digits::adapt(method, common::same_rank, base, data, s, run); });
}

}  // namespace studies::map
