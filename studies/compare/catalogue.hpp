// The rows of studies/common/catalogue.txt as entries. Included only where methods are instantiated;
// the driver sees methods.hpp.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "methods.hpp"
#include "studies/common/catalogue_policies.hpp"
#include "studies/digits/adapt.hpp"

namespace studies::compare {

class catalogue {
 public:
  // With row_norm > 0 the rows marked at_row_norm once more, with all directions of that norm.
  explicit catalogue(double row_norm) : row_norm_(row_norm) {}

  template <class Method>
  void add(const std::string& id, const std::string& name, const std::string& citation, family kind,
           Method m, unsigned flags = usual, rank_rule rank = same_rank) {
    entries_.push_back(entry(id, name, citation, kind, m, rank));
    entries_.back().by_default = (flags & further) == 0;
    if constexpr (requires { m.init.row_norm = 1.0; }) {
      if ((flags & at_row_norm) != 0 && row_norm_ > 0) {
        m.init.row_norm = row_norm_;
        const std::string norm = to_text(row_norm_);
        at_one_norm_.push_back(entry(id + "_norm", name + ", norm " + norm,
                                     citation + "; every direction of norm " + norm, kind, m,
                                     rank));
        at_one_norm_.back().equal_norm = true;
      }
    }
  }

  // Those at one norm come last.
  std::vector<method_entry> take_entries() {
    for (method_entry& e : at_one_norm_) {
      entries_.push_back(std::move(e));
    }
    return std::move(entries_);
  }

 private:
  template <class Method>
  static method_entry entry(const std::string& id, const std::string& name,
                            const std::string& citation, family kind, const Method& m,
                            rank_rule rank) {
    return {
        .id = id,
        .name = name,
        .citation = citation,
        .kind = kind,
        .has_rank = preheat::has_rank<typename Method::adapter_type, preheat::cpu<float>>,
        .run = [m, rank](const base_model& base, const shift_data& data, const training_settings& s,
                         const run_definition& run) { return adapt(m, rank, base, data, s, run); }};
  }

  double row_norm_;
  std::vector<method_entry> entries_;
  std::vector<method_entry> at_one_norm_;
};

// Adds the rows of the catalogue, in its order. Each part of it is a generated file, which calls the
// next one.
void add_part_0(catalogue& all);

}  // namespace studies::compare
