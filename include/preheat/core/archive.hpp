// The state of a training run as plain host data, for exact resume. Numbers are held as doubles,
// which hold every float and every double exactly. safetensors/checkpoint.hpp writes it to a file.
//
// A type is saved and loaded by one member:
//
//   template <class Archive> void archive(Archive& ar) { ar("m", m); ar("t", t); }
#pragma once
#include <concepts>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
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

// A hash of the state.
inline std::uint64_t hash_of(const training_state& state) {
  bit_hash hash;
  for (const auto& [name, m] : state.entries) {
    hash.add(std::span<const char>(name));
    hash.add(std::span<const double>(m.values));
  }
  return hash.value();
}

namespace detail {
// What an archive does whatever the backend: where it is in the state, and the entry there. Its members
// are not inline, because a run has dozens of entries.
template <class State>
class archive_cursor {
 public:
  enum class direction { save, load };
  bool loading() const { return written_ == nullptr; }

 protected:
  archive_cursor(State& state, direction d)
      : saved_(&state), written_(d == direction::save ? &state : nullptr) {}
  explicit archive_cursor(const State& saved) : saved_(&saved) {}

  // Goes on to the entry of this name under the present one, and returns what leave() needs.
  std::size_t enter(std::string_view name);
  void leave(std::size_t outer) { path_.resize(outer); }

  const saved_matrix& find() const;
  void save(saved_matrix entry);
  double loaded_number() const;
  void save_number(double value);
  void numbers(std::vector<double>& values);

 private:
  const State* saved_;
  State* written_ = nullptr;  // null when loading
  std::string path_;
};

template <class State>
[[gnu::cold, gnu::noinline]] std::size_t archive_cursor<State>::enter(std::string_view name) {
  const std::size_t outer = path_.size();
  if (outer > 0) {
    path_ += '/';
  }
  path_ += name;
  return outer;
}
template <class State>
[[gnu::cold, gnu::noinline]] const saved_matrix& archive_cursor<State>::find() const {
  const auto it = saved_->entries.find(path_);
  if (it == saved_->entries.end()) {
    throw invalid_argument("the saved state has no entry '" + path_ +
                           "': it belongs to another method, network or version");
  }
  return it->second;
}
template <class State>
[[gnu::cold, gnu::noinline]] void archive_cursor<State>::save(saved_matrix entry) {
  written_->entries.insert({path_, {}}).first->second = std::move(entry);
}
template <class State>
[[gnu::cold, gnu::noinline]] double archive_cursor<State>::loaded_number() const {
  return find().values.at(0);
}
template <class State>
[[gnu::cold, gnu::noinline]] void archive_cursor<State>::save_number(double value) {
  save({1, 1, {value}});
}
template <class State>
[[gnu::cold, gnu::noinline]] void archive_cursor<State>::numbers(std::vector<double>& values) {
  index_t size = index_t(values.size());
  const std::size_t here = enter("size");
  if (loading()) {
    size = index_t(loaded_number());
    values = std::vector<double>(std::size_t(size));
  } else {
    save_number(double(size));
  }
  leave(here);
  for (index_t i = 0; i < size; ++i) {
    const std::size_t outer = enter(shown_number(i).text());
    if (loading()) {
      values[std::size_t(i)] = loaded_number();
    } else {
      save_number(values[std::size_t(i)]);
    }
    leave(outer);
  }
}
}  // namespace detail

// Writes to, or reads from, a training_state. Throws invalid_argument when an entry that the run
// needs is not in the state (it was saved by another method or network).
template <backend Be>
class archive : private detail::archive_cursor<training_state> {
 public:
  using cursor = detail::archive_cursor<training_state>;
  using cursor::direction;
  using cursor::loading;

  archive(Be& be, training_state& state, direction d) : cursor(state, d), be_(be) {}
  // Loads.
  archive(Be& be, const training_state& saved) : cursor(saved), be_(be) {}

  // One member: a number, a matrix, a parameter set, a vector of these, or a type with archive().
  template <class T>
  void operator()(std::string_view name, T& value);
  // The members that f transfers, under this name.
  template <class F>
  void under(std::string_view name, F f) {
    const std::size_t outer = enter(name);
    f();
    leave(outer);
  }

 private:
  template <class T>
  void transfer(T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      number(value);
    } else if constexpr (std::same_as<T, mat<Be>>) {
      matrix(value);
    } else if constexpr (std::same_as<T, std::vector<double>>) {
      numbers(value);
    } else if constexpr (requires { T::parameters(); }) {
      for_each([&](auto parameter, auto& x) { (*this)(parameter.name, x); }, value);
    } else if constexpr (requires { value.archive(*this); }) {
      value.archive(*this);
    } else if constexpr (
        requires { value.push_back(value.front()); } || requires { value.resize(value.size()); }) {
      index_t size = index_t(value.size());
      (*this)("size", size);
      value.resize(std::size_t(size));
      for (index_t i = 0; i < size; ++i) {
        (*this)(detail::shown_number(i).text(), value[i]);
      }
    } else {
      static_assert(never<T>, "preheat: give this state a member `void archive(Archive& ar)`");
    }
  }
  template <class T>
  void number(T& value) {
    static_assert(sizeof(T) < 8 || std::floating_point<T> || std::same_as<T, index_t>);
    if (loading()) {
      value = T(loaded_number());
    } else {
      save_number(double(value));
    }
  }
  void matrix(mat<Be>& M);

  Be& be_;
};

template <backend Be>
template <class T>
[[gnu::cold]] void archive<Be>::operator()(std::string_view name, T& value) {
  const std::size_t outer = enter(name);
  transfer(value);
  leave(outer);
}
template <backend Be>
[[gnu::cold]] void archive<Be>::matrix(mat<Be>& M) {
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
    save({M.rows(), M.cols(), {host.begin(), host.end()}});
  }
}

}  // namespace preheat
