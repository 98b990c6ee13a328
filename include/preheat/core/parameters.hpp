// Parameters, gradients and moments are one type: a plain struct of matrices with a list of its
// members. `for_each` goes through several of them together, so that optimizers, checkpoints and
// changes of rank are written once for all adapters.
//
//   template <class Be> struct params {
//     mat<Be> A, B;
//     static constexpr auto parameters() {
//       return std::tuple(make_parameter<parameter_role::A, along::rows>("A", &params::A),
//                         make_parameter<parameter_role::B, along::cols>("B", &params::B));
//     }
//   };
#pragma once
#include <concepts>
#include <tuple>
#include <type_traits>
#include <vector>

#include "types.hpp"

namespace preheat {

// Which dimension of a parameter counts ranks.
enum class along { none, rows, cols };

// One parameter: its name in files, its member, its role, its rank dimension, and whether training
// moves it.
template <parameter_role Role, along Ranks, bool Trained, class P, class M>
struct parameter {
  const char* name;
  M P::*member;
  static constexpr parameter_role role = Role;
  static constexpr along ranks = Ranks;
  static constexpr bool trained = Trained;
};
template <parameter_role Role, along Ranks = along::none, bool Trained = true, class P, class M>
constexpr auto make_parameter(const char* name, M P::*member) {
  return parameter<Role, Ranks, Trained, P, M>{name, member};
}

// A struct of matrices with a list of them.
template <class P>
concept parameter_set = std::default_initializable<P> && requires {
  P::parameters();
};

// Calls f(parameter, p.x, q.x…) for every parameter x, trained or frozen.
template <class F, class P, class... Q>
void for_each(F f, P& p, Q&... q) {
  const auto one = [&](auto parameter) {
    f(parameter, p.*parameter.member, q.*parameter.member...);
  };
  std::apply([&](auto... parameters) { (one(parameters), ...); },
             std::remove_const_t<P>::parameters());
}

// The same for the trained parameters only.
template <class F, class P, class... Q>
void for_each_trained(F f, P& p, Q&... q) {
  for_each(
      [&](auto parameter, auto&... x) {
        if constexpr (parameter.trained) {
          f(parameter, x...);
        }
      },
      p, q...);
}

// Whether P trains a parameter of this role.
template <class P>
consteval bool trains(parameter_role wanted) {
  return std::apply(
      [&](auto... parameter) { return ((parameter.trained && parameter.role == wanted) || ...); },
      P::parameters());
}

// Whether P has a parameter of this role, trained or frozen.
template <class P>
consteval bool has_role(parameter_role wanted) {
  return std::apply([&](auto... parameter) { return ((parameter.role == wanted) || ...); },
                    P::parameters());
}

// ΔW = s·B·A with both factors present and nothing between them: what the optimizers that move a
// pair (A, B) need.
template <class P>
concept factor_pair = requires(P& p) {
  p.A;
  p.B;
}
&&!has_role<P>(parameter_role::gate) &&
    (trains<P>(parameter_role::A) || trains<P>(parameter_role::B));

// A pair of which both factors are trained, and nothing else: adapter::lora.
template <class P>
concept trained_pair = factor_pair<P> &&
                       trains<P>(parameter_role::A) && trains<P>(parameter_role::B) &&
                       !trains<P>(parameter_role::magnitude) &&
                       !trains<P>(parameter_role::bias);

// Whether these parameters refer to matrices that the adapters of several layers share
// (core/adapter.hpp): a member `shared` that parameters() does not list.
template <class P>
concept refers_to_shared = requires(P& p) {
  p.shared;
};

// The number of trained entries.
template <class P>
index_t trained_size(const P& p) {
  index_t total = 0;
  for_each_trained([&](auto, const auto& x) { total += x.rows() * x.cols(); }, p);
  return total;
}

// Zeros in the shape of the trained parameters of p; frozen ones stay empty.
template <class Be, class P>
P zeros_like(Be& be, const P& p) {
  P z;
  for_each_trained([&](auto, auto& zero, const auto& x) { zero = be.zeros(x.rows(), x.cols()); }, z,
                   p);
  return z;
}

template <class Be, class P>
void set_zero(Be& be, P& p) {
  for_each_trained([&](auto, auto& x) { be.fill(0, x); }, p);
}

// A copy of every parameter; what layers share is referred to and not copied.
template <class Be, class P>
P clone_params(Be& be, const P& p) {
  P copy;
  for_each(
      [&](auto, auto& to, const auto& from) {
        to = be.zeros(from.rows(), from.cols());
        be.copy(transpose::no, from, to);
      },
      copy, p);
  if constexpr (refers_to_shared<P>) {
    copy.shared = p.shared;
  }
  return copy;
}

// Keeps the listed ranks of p, in that order, then appends `added` ranks of zeros. Parameters that do
// not count ranks are left alone; an adapter that shares parameters between ranks, or between
// layers, does not compile.
template <class Be, class P>
void select_ranks(Be& be, P& p, const std::vector<index_t>& keep, index_t added) {
  static_assert(
      !refers_to_shared<P>,
      "preheat: this adapter shares its factors between layers and cannot change the rank "
      "of one; use adapter::lora");
  const index_t kept = index_t(keep.size());
  for_each(
      [&](auto parameter, auto& x) {
        static_assert(parameter.ranks != along::none ||
                          parameter.role == parameter_role::magnitude ||
                          parameter.role == parameter_role::bias,
                      "preheat: this adapter shares its parameters between ranks and cannot change "
                      "its rank; use adapter::lora");
        if constexpr (parameter.ranks == along::none) {
          return;
        } else {
          if (x.rows() == 0 && x.cols() == 0) {
            return;  // the gradient of a frozen parameter
          }
          constexpr bool rows = parameter.ranks == along::rows;
          auto next = rows ? be.zeros(kept + added, x.cols()) : be.zeros(x.rows(), kept + added);
          for (index_t i = 0; i < kept; ++i) {
            const index_t from = keep[i];
            if constexpr (rows) {
              be.copy(transpose::no, view(x).row_range(from, 1), view(next).row_range(i, 1));
            } else {
              be.copy(transpose::no, view(x).col_range(from, 1), view(next).col_range(i, 1));
            }
          }
          x = std::move(next);
        }
      },
      p);
}

// Copies all ranks of `from` into `to`, where they are the ranks first, first + 1, …
template <class Be, class P>
void copy_ranks(Be& be, const P& from, P& to, index_t first) {
  for_each(
      [&](auto parameter, const auto& x, auto& all) {
        if constexpr (parameter.ranks == along::rows) {
          be.copy(transpose::no, x, view(all).row_range(first, x.rows()));
        } else if constexpr (parameter.ranks == along::cols) {
          be.copy(transpose::no, x, view(all).col_range(first, x.cols()));
        }
      },
      from, to);
}

}  // namespace preheat
