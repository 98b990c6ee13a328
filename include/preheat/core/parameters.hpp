// Parameters, gradients and moments are one type: a plain struct of matrices with a list of its
// parts. `visit` walks several of them together, so that an optimizer, a checkpoint or a change of
// rank knows no adapter.
//
//   template <class Be> struct params {
//     mat<Be> A, B;
//     static constexpr auto parts() {
//       return std::tuple(make_part<role::A, along::rows>("A", &params::A),
//                         make_part<role::B, along::cols>("B", &params::B));
//     }
//   };
#pragma once
#include <tuple>
#include <type_traits>
#include <vector>

#include "types.hpp"

namespace preheat {

// Which dimension of a part counts ranks.
enum class along { none, rows, cols };

// One part: its name in files, its place in the struct, its role, its rank dimension, and whether
// training moves it.
template <role Role, along Ranks, bool Trained, class P, class M>
struct part {
  const char* name;
  M P::*member;
  static constexpr role kind = Role;
  static constexpr along ranks = Ranks;
  static constexpr bool trained = Trained;
};
template <role Role, along Ranks = along::none, bool Trained = true, class P, class M>
constexpr auto make_part(const char* name, M P::*member) {
  return part<Role, Ranks, Trained, P, M>{name, member};
}

// Calls f(part, p.x, q.x…) for every part x, trained or frozen.
template <class F, class P, class... Q>
void visit_all(F f, P& p, Q&... q) {
  const auto one = [&](auto part) { f(part, p.*part.member, q.*part.member...); };
  std::apply([&](auto... parts) { (one(parts), ...); }, std::remove_const_t<P>::parts());
}

// The same for the trained parts only.
template <class F, class P, class... Q>
void visit(F f, P& p, Q&... q) {
  visit_all(
      [&](auto part, auto&... x) {
        if constexpr (part.trained) {
          f(part, x...);
        }
      },
      p, q...);
}

// Whether P trains a part of this role.
template <class P>
consteval bool trains(role wanted) {
  return std::apply([&](auto... part) { return ((part.trained && part.kind == wanted) || ...); },
                    P::parts());
}

// Whether P has a part of this role, trained or frozen.
template <class P>
consteval bool has_role(role wanted) {
  return std::apply([&](auto... part) { return ((part.kind == wanted) || ...); }, P::parts());
}

// ΔW = s·B·A with both factors at hand and nothing between them: what the optimizers that move a
// pair (A, B) need.
template <class P>
concept factor_pair = requires(P& p) {
  p.A;
  p.B;
}
&&!has_role<P>(role::gate) && (trains<P>(role::A) || trains<P>(role::B));

// The number of trained entries.
template <class P>
index_t trained_size(const P& p) {
  index_t total = 0;
  visit([&](auto, const auto& x) { total += x.rows() * x.cols(); }, p);
  return total;
}

// Zeros in the shape of the trained parts of p; frozen parts stay empty.
template <class Be, class P>
P zeros_like(Be& be, const P& p) {
  P z;
  visit([&](auto, auto& zero, const auto& x) { zero = be.zeros(x.rows(), x.cols()); }, z, p);
  return z;
}

template <class Be, class P>
void set_zero(Be& be, P& p) {
  visit([&](auto, auto& x) { be.fill(0, x); }, p);
}

// A copy of every part.
template <class Be, class P>
P clone_params(Be& be, const P& p) {
  P copy;
  visit_all(
      [&](auto, auto& to, const auto& from) {
        to = be.zeros(from.rows(), from.cols());
        be.copy(op::none, from, to);
      },
      copy, p);
  return copy;
}

// Keeps the listed ranks of p, in that order, then appends `added` ranks of zeros. Parts that do
// not count ranks are left alone; an adapter that shares parameters between ranks does not compile.
template <class Be, class P>
void select_ranks(Be& be, P& p, const std::vector<index_t>& keep, index_t added) {
  const index_t kept = index_t(keep.size());
  visit_all(
      [&](auto part, auto& x) {
        static_assert(
            part.ranks != along::none || part.kind == role::magnitude || part.kind == role::bias,
            "preheat: this adapter shares its parameters between ranks and cannot change "
            "its rank; use adapter::lora");
        if constexpr (part.ranks == along::none) {
          return;
        } else {
          if (x.rows() == 0 && x.cols() == 0) {
            return;  // the gradient of a frozen part
          }
          constexpr bool rows = part.ranks == along::rows;
          auto next = rows ? be.zeros(kept + added, x.cols()) : be.zeros(x.rows(), kept + added);
          for (index_t i = 0; i < kept; ++i) {
            const index_t from = keep[std::size_t(i)];
            if constexpr (rows) {
              be.copy(op::none, view(x).row_range(from, 1), view(next).row_range(i, 1));
            } else {
              be.copy(op::none, view(x).col_range(from, 1), view(next).col_range(i, 1));
            }
          }
          x = std::move(next);
        }
      },
      p);
}

}  // namespace preheat
