// The rows of catalogue.txt as entries of a study whose run is a call of its function
//
//   adapt(method, rank_rule, …)     the rest are the arguments of the entry's run
//
// which is found in the namespace of these arguments. Included only where methods are instantiated.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "catalogue.hpp"

namespace studies::common {

// Whether a method's init can scale all directions to one norm, and whether it preheats.
template <class Method>
inline constexpr bool scales_rows = requires(Method m) {
  m.init.row_norm = 1.0;
};
template <class Method>
inline constexpr bool preheats_first = requires(Method m) {
  m.init.preheating;
};

template <class Entry>
class method_list {
 public:
  template <class Method>
  void add(const std::string& id, const std::string& name, const std::string& citation, family kind,
           const Method& m, unsigned flags = usual, rank_rule rank = same_rank) {
    entries_.push_back(
        {.id = id,
         .name = name,
         .citation = citation,
         .kind = kind,
         .by_default = (flags & reduced) != 0,
         .has_rank = Method::adapter_type::has_factors,
         .has_row_norm = scales_rows<Method>,
         .preheats = preheats_first<Method>,
         .run = [m, rank](const auto&... arguments) { return adapt(m, rank, arguments...); }});
  }
  std::vector<Entry> take_entries() { return std::move(entries_); }

 private:
  std::vector<Entry> entries_;
};

}  // namespace studies::common
