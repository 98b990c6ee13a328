// The state of a training run as plain host data, for exact resume. Numbers are held as doubles,
// which hold every float and every double exactly. io/checkpoint.hpp writes it to a file.
//
// A type takes part with one member, used both for saving and for loading:
//
//   template <class Archive> void archive(Archive& ar) { ar("m", m); ar("t", t); }
#pragma once
#include <concepts>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "communicator.hpp"
#include "concepts.hpp"

namespace preheat {

struct saved_matrix {
  index_t rows = 0;
  index_t cols = 0;
  std::vector<double> values;  // column-major
};
struct training_state {
  std::map<std::string, saved_matrix> entries;  // by path, e.g. "layers.0/optim/m/A"
};

// A number that changes when the state does.
inline std::uint64_t hash_of(const training_state& state) {
  bit_hash hash;
  for (const auto& [name, m] : state.entries) {
    hash.add(std::span<const char>(name));
    hash.add(std::span<const double>(m.values));
  }
  return hash.value();
}

// Writes to, or reads from, a training_state. Throws invalid_argument when an entry that the run
// needs is not in the state (it was saved by another method or network).
template <backend Be>
class archive {
 public:
  enum class direction { save, load };

  archive(Be& be, training_state& state, direction d) : be_(be), state_(state), direction_(d) {}
  bool loading() const { return direction_ == direction::load; }

  // One member: a number, a matrix, a parameter set, a vector of these, or a type with archive().
  template <class T>
  void operator()(const std::string& name, T& value) {
    const std::string outer = path_;
    path_ += path_.empty() ? name : "/" + name;
    transfer(value);
    path_ = outer;
  }

 private:
  template <class T>
  void transfer(T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      number(value);
    } else if constexpr (std::same_as<T, mat<Be>>) {
      matrix(value);
    } else if constexpr (requires { T::parts(); }) {
      visit_all([&](auto part, auto& x) { (*this)(part.name, x); }, value);
    } else if constexpr (requires { value.archive(*this); }) {
      value.archive(*this);
    } else if constexpr (
        requires { value.push_back(value.front()); } || requires { value.resize(value.size()); }) {
      index_t size = index_t(value.size());
      (*this)("size", size);
      value.resize(std::size_t(size));
      for (index_t i = 0; i < size; ++i) {
        (*this)(std::to_string(i), value[std::size_t(i)]);
      }
    } else {
      static_assert(never<T>, "preheat: give this state a member `void archive(Archive& ar)`");
    }
  }
  template <class T>
  void number(T& value) {
    static_assert(sizeof(T) < 8 || std::floating_point<T> || std::same_as<T, index_t>);
    if (loading()) {
      value = T(find().values.at(0));
    } else {
      state_.entries[path_] = {1, 1, {double(value)}};
    }
  }
  void matrix(mat<Be>& M) {
    using T = scalar_of<Be>;
    if (loading()) {
      const saved_matrix& saved = find();
      M = be_.zeros(saved.rows, saved.cols);
      if (!saved.values.empty()) {
        const std::vector<T> host(saved.values.begin(), saved.values.end());
        be_.upload(host, M);
      }
    } else {
      const std::vector<T> host = be_.download(M);
      state_.entries[path_] = {M.rows(), M.cols(), {host.begin(), host.end()}};
    }
  }
  const saved_matrix& find() const {
    const auto it = state_.entries.find(path_);
    if (it == state_.entries.end()) {
      throw invalid_argument("the saved state has no entry '" + path_ +
                             "': it belongs to another method, network or version");
    }
    return it->second;
  }

  Be& be_;
  training_state& state_;
  direction direction_;
  std::string path_;
};

}  // namespace preheat
