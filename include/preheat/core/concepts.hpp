// The contracts of the five axes, the backend and the network.
//
// A model of `backend` may keep its data on a device: nothing outside it dereferences data(), and
// nothing is promised about expressions, iterators, copies of matrices or host access other than
// upload and download. What a policy may rely on is written here and no more; the archetype in
// tests/conformance has exactly these members.
#pragma once
#include <concepts>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "hooks.hpp"
#include "parameters.hpp"
#include "random.hpp"
#include "types.hpp"

namespace preheat {

// An elementwise kernel is a named, trivially copyable functor with a constexpr call operator.
template <class T>
struct kernel_archetype {
  constexpr void operator()(T& x, const T& y) const { x += y; }
};
template <class T>
struct indexed_kernel_archetype {
  constexpr void operator()(index_t, T& x, const T& y) const { x += y; }
};

// Where the numbers live and who multiplies them.
template <class Be>
concept backend = requires {
  typename Be::scalar;
  typename Be::matrix;
}
&&std::floating_point<typename Be::scalar>&& std::movable<typename Be::matrix>&&
    std::default_initializable<typename Be::matrix>&& requires(
        Be& be, typename Be::matrix& M, const typename Be::matrix& constM, index_t k, op t,
        typename Be::scalar s, view<const typename Be::scalar> a, view<typename Be::scalar> x,
        std::span<const typename Be::scalar> host, kernel_archetype<typename Be::scalar> f,
        indexed_kernel_archetype<typename Be::scalar> fi) {
  // An owner of memory: data, shape, leading dimension.
  { M.data() } -> std::same_as<typename Be::scalar*>;
  { constM.data() } -> std::same_as<const typename Be::scalar*>;
  { constM.rows() } -> std::same_as<index_t>;
  { constM.cols() } -> std::same_as<index_t>;
  { constM.ld() } -> std::same_as<index_t>;
  { be.zeros(k, k) } -> std::same_as<typename Be::matrix>;
  // M gets a new shape, contents undefined; no allocation when it has had a shape at least as large
  // in both dimensions.
  { be.resize(M, k, k) } -> std::same_as<void>;
  // Host and back; the host side is column-major without gaps.
  { be.upload(host, x) } -> std::same_as<void>;
  { be.download(a) } -> std::same_as<std::vector<typename Be::scalar>>;
  // Memory.
  { be.fill(s, x) } -> std::same_as<void>;     // x_ij = s
  { be.copy(t, a, x) } -> std::same_as<void>;  // x = op(a)
  // Elementwise: f(x_ij, a_ij, …), and f(i + j·rows, x_ij, a_ij, …), for any number of operands.
  { be.each(f, x, a) } -> std::same_as<void>;
  { be.each_indexed(fi, x, a) } -> std::same_as<void>;
  // Vectors against matrices; a vector is k×1.
  { be.scale_rows(a, x) } -> std::same_as<void>;          // x = diag(a)·x
  { be.scale_cols(a, x) } -> std::same_as<void>;          // x = x·diag(a)
  { be.add_to_cols(a, x) } -> std::same_as<void>;         // x_ij += a_i
  { be.add_row_sums(s, a, x) } -> std::same_as<void>;     // x_i += s·Σ_j a_ij
  { be.add_row_dots(s, a, a, x) } -> std::same_as<void>;  // x_i += s·Σ_j a_ij·b_ij
  // Reductions to the host.
  { be.dot(a, a) } -> std::same_as<typename Be::scalar>;   // Σ_ij a_ij·b_ij
  { be.max_abs(a) } -> std::same_as<typename Be::scalar>;  // 0 if empty; NaN if any entry is NaN
  // Products. gemm: x = s·op(a)·op(b) + t·x, where t = 0 ignores x; gram: x = a·aᵀ (op::none) or
  // aᵀ·a (op::trans), both triangles.
  { be.gemm(s, t, a, t, a, s, x) } -> std::same_as<void>;
  { be.gram(t, a, x) } -> std::same_as<void>;
  // Factorizations. cholesky: x = Rᵀ·R becomes R, upper, zeros below; false if not positive
  // definite, and x is then undefined. solve_upper: x = op(R)⁻¹·x.
  { be.cholesky(x) } -> std::same_as<bool>;
  { be.solve_upper(t, a, x) } -> std::same_as<void>;
  { be.qr(a) } -> std::same_as<qr_result<typename Be::matrix>>;      // thin; any signs
  { be.svd(a) } -> std::same_as<svd_result<typename Be::matrix>>;    // thin; any signs
  { be.eigh(a) } -> std::same_as<eigh_result<typename Be::matrix>>;  // symmetric
  { be.describe() } -> std::same_as<std::string>;  // e.g. "cpu<float>, OpenBLAS 0.3.21"
};

// A backend that can also hand a Gram matrix over to a backend of twice its precision, `wide`: the
// squares of float numbers, and sums of them, lose nothing in double. `wide` is default-constructed,
// or what be.widened() returns where there is such a function.
template <class Be>
concept widening_backend = backend<Be> && backend<typename Be::wide> &&
    requires(Be& be, op t, view<const typename Be::scalar> a, view<typename Be::wide::scalar> x) {
  { be.gram(t, a, x) } -> std::same_as<void>;  // as gram, in the wide precision
};

// A backend that can find only the k largest eigenvalues of a symmetric matrix (or some more), in
// increasing order, and their vectors.
template <class Be>
concept partial_eigen_backend = backend<Be> &&
    requires(Be& be, view<const typename Be::scalar> a, index_t k) {
  { be.eigh_largest(a, k) } -> std::same_as<eigh_result<typename Be::matrix>>;
};

template <class Be>
using mat = typename Be::matrix;
template <class Be>
using scalar_of = typename Be::scalar;
template <class Be>
using in = view<const typename Be::scalar>;
template <class Be>
using out = view<typename Be::scalar>;

template <backend Be>
mat<Be> clone(Be& be, in<Be> a) {
  mat<Be> M = be.zeros(a.rows(), a.cols());
  be.copy(op::none, a, M);
  return M;
}

// ---------------------------------------------------------------------------------------- the init

// ΔW = s·B·A: A is r×n, B is m×r. With a core, ΔW = s·B·R·A: R is r×r, else empty (adapter::xs).
template <class Be>
struct factors {
  mat<Be> A;
  mat<Be> B;
  mat<Be> R{};
};
// Refuses a core, for adapters that have no place for one.
template <class Be>
void require_no_core(const factors<Be>& f) {
  require(f.R.rows() == 0, "this init gives a core R between B and A: use adapter::xs");
}
// The same with another base weight, m×n, in the place of W.
template <class Be>
struct replacement {
  factors<Be> f;
  mat<Be> W;
};

// What the product s·B·A of a fresh start is.
//   zero       one factor is zero: the output does not move
//   zero_pair  both factors are set, the product is zero all the same
//   absorbed   W gives s·B·A away: the output does not move either
//   replaced   the init answers with a new W too (a quantized one): the output nearly stays
//   added      the output moves, unless the adapter starts closed (gated<gate::closed>)
enum class start { zero, zero_pair, absorbed, replaced, added };

// What an init learns from the data before it can answer.
enum class evidence_kind {
  none,
  weight,
  gradient,
  input_covariance,
  activations,
  preheated_factors
};

// All that an init is told about one layer.
template <class Be>
struct site {
  in<Be> W;                           // m×n, frozen
  index_t rank = 0;                   // r
  scalar_of<Be> scaling = 1;          // s
  side directions = side::automatic;  // right or left when the adapter can train only the other
  index_t layer = 0;                  // its number in the network
  generator gen{};                    // its own stream
};

// What an init answers with: factors, or a replacement where its product is start::replaced.
template <class I, class Be>
using init_answer = std::conditional_t<I::product == start::replaced, replacement<Be>, factors<Be>>;

// init: a pure function of a site, or of a site and its evidence.
template <class I, class Be>
concept plain_init = requires(const I init, Be& be, const site<Be>& s) {
  { init(be, s) } -> std::same_as<init_answer<I, Be>>;
};
template <class I, class Be>
concept evidence_init = requires(const I init, Be& be, const site<Be>& s,
                                 const typename I::template evidence<Be>& e) {
  { init(be, s, e) } -> std::same_as<init_answer<I, Be>>;
};
template <class I, class Be>
concept init_policy = std::same_as<typename I::axis, axes::init> && requires {
  { I::product } -> std::convertible_to<start>;
  { I::needs } -> std::convertible_to<evidence_kind>;
} &&(I::needs == evidence_kind::none || I::needs == evidence_kind::weight ? plain_init<I, Be>
                                                                          : evidence_init<I, Be>);

// Whether an init learns from the data, and not from the weight alone.
template <class I>
inline constexpr bool gathers_evidence =
    I::needs != evidence_kind::none&& I::needs != evidence_kind::weight;

// The init of every start after a run's first (a chain's next round, ranks added on the way): the
// member `later` of an init that has one (init::first_then), else the init itself.
template <class I>
const auto& later_init(const I& init) {
  if constexpr (requires { init.later; }) {
    return init.later;
  } else {
    return init;
  }
}

// ------------------------------------------------------------------------------------- the adapter

// The frozen linear map under an adapter: y = (W + ΔW)·x + b, ΔW scaled by s. b is m×1 or empty.
template <class Be>
struct frozen_linear {
  in<Be> W;
  in<Be> b;
  scalar_of<Be> scaling = 1;
};
// The input of a layer. `branch` is what the adapter's factors see: the same view as `base`, or its
// dropped-out copy.
template <class Be>
struct layer_input {
  in<Be> base;
  in<Be> branch;
};
// Where the input's gradient goes; both empty when nobody asks for it. `base` is overwritten with
// the part through W, `branch` receives (adds) the part through the factors. Without dropout both
// are the same view, so write `base` first.
template <class Be>
struct input_gradient {
  out<Be> base;
  out<Be> branch;
  bool wanted() const { return base.data() != nullptr; }
};

// adapter: what ΔW is made of and how gradients are pulled back to its parts.
//   directions   which side can use directions from an init: right or left if one factor is frozen
//   has_factors  whether it is started from factors A, B; if not, it needs no init and no rank
//   any_product  whether it can hold any pair A, B exactly (an init of non-zero product needs that)
// forward writes all of y; backward adds to the gradient and leaves the parameters alone.
template <class A, class Be>
concept adapter_policy = std::same_as<typename A::axis, axes::adapter> &&
    requires(const A adapter, Be& be, const frozen_linear<Be>& base, const layer_input<Be>& x,
             const input_gradient<Be>& dx, in<Be> dY, out<Be> Y, generator gen,
             const typename A::template params<Be>& p, typename A::template params<Be>& g,
             typename A::template tape<Be>& tape) {
  { A::directions } -> std::convertible_to<side>;
  { A::has_factors } -> std::convertible_to<bool>;
  { A::any_product } -> std::convertible_to<bool>;
  { adapter.forward(be, p, base, x, Y, tape) } -> std::same_as<void>;
  { adapter.backward(be, p, base, x, dY, g, dx, tape) } -> std::same_as<void>;
  { adapter.merge(be, p, base.scaling, Y, Y) } -> std::same_as<void>;  // into W and b
} &&
    (A::has_factors
         ? requires(const A adapter, Be& be, const frozen_linear<Be>& base, factors<Be>& f,
                    generator gen, const typename A::template params<Be>& p) {
             {
               adapter.start(be, base, std::move(f), gen)
             } -> std::same_as<typename A::template params<Be>>;
             { adapter.product(be, p) } -> std::same_as<factors<Be>>;
             { adapter.rank(p) } -> std::same_as<index_t>;
           }
         : requires(const A adapter, Be& be, const frozen_linear<Be>& base, generator gen) {
             { adapter.start(be, base, gen) } -> std::same_as<typename A::template params<Be>>;
           });

// ----------------------------------------------------------------------------------- the optimizer

// What an optimizer may know besides the parameters and their gradient.
struct step_context {
  double learning_rate = 0;  // of this step: the policy's rate times the schedule
  double scaling = 1;        // s of the layer
  index_t layer = 0;
  index_t step = 0;                                     // of the run, from 0
  index_t steps = 0;                                    // that the run will take
  generator gen{};                                      // keyed by (seed, step, layer)
  double rate_scale[role_count] = {1, 1, 1, 1, 1, 1};   // learning rate by role
  double decay_scale[role_count] = {1, 1, 1, 1, 1, 1};  // weight decay by role
  index_t matrices[role_count] = {};  // census of the whole network: trained matrices…
  index_t entries[role_count] = {};   // …and their entries, by role

  double rate(role r) const { return learning_rate * rate_scale[int(r)]; }
  double decay(role r) const { return decay_scale[int(r)]; }
};

// optim: steps the parameters of one layer. A leaf optimizer has the member `lr`, a decorator has
// the member `base`. state.archive(ar) lists what a checkpoint must keep (core/archive.hpp), and
// state.each(f) calls f on every member that has the shape of the parameters, for changes of rank.
template <class O, class Be, class P>
concept optim_policy = std::same_as<typename O::axis, axes::optim> &&(
                           requires(O o) {
                             { o.lr } -> std::convertible_to<double>;
                           } ||
                           requires(O o) { o.base; }) &&
                       requires(const O o, Be& be, const P& p, P& q,
                                typename O::template state<Be, P>& state,
                                const step_context& context) {
  { o.start(be, p) } -> std::same_as<typename O::template state<Be, P>>;
  { o.step(be, q, q, state, context) } -> std::same_as<void>;  // the gradient may be overwritten
};

// The learning rate of an optimizer, through its decorators.
template <class O>
auto& learning_rate(O& optim) {
  if constexpr (requires { optim.base; }) {
    return learning_rate(optim.base);
  } else {
    return optim.lr;
  }
}

// ------------------------------------------------------------------------------ rank and chain

// State of a policy that keeps nothing between steps.
template <class Be>
struct no_state {
  template <class Archive>
  void archive(Archive&) {}
};

// rank: the rank of every layer at its start, given the rank that `fit` was asked for. Changes
// later are made by hooks, through run.select_ranks.
template <class R, class Be>
concept rank_policy = std::same_as<typename R::axis, axes::rank> &&
    std::default_initializable<typename R::template state<Be>> &&
    requires(const R rank, index_t layer, index_t layers, index_t wanted) {
  { rank.of(layer, layers, wanted) } -> std::same_as<index_t>;
};

// chain: when ΔW is folded into W and the adapter drawn again; all of it in hooks, through run.fold
// and run.attach. `folds` says whether it writes to W.
template <class C, class Be>
concept chain_policy = std::same_as<typename C::axis, axes::chain> &&
    std::default_initializable<typename C::template state<Be>> && requires {
  { C::folds } -> std::convertible_to<bool>;
};

// ------------------------------------------------------------------------------------ the network

// An adaptable linear layer of a network: y = W·x + b. b is m×1, or empty.
template <class Be>
struct layer {
  std::string name;
  mat<Be> W;
  mat<Be> b{};
};

// A pass over the network: training passes record what backward needs.
enum class pass { evaluation, training };

// How a network reaches its linear layers. The base alone, the recorder of gradients and an adapted
// run are three of these, so a network knows no adapter, and an adapter knows no network. A layer
// may be used several times in a pass; backward is called in reverse order of forward. What forward
// and backward return is valid until the next pass begins.
template <class L, class Be>
concept linear_operator = requires(L& lin, pass p, index_t layer, in<Be> X, in<Be> dY,
                                   bool need_dx) {
  { lin.begin(p) } -> std::same_as<void>;
  { lin.forward(layer, X) } -> std::same_as<out<Be>>;
  { lin.backward(layer, X, dY, need_dx) } -> std::same_as<out<Be>>;  // empty unless need_dx
  { lin.first_trained() } -> std::same_as<index_t>;  // layers before it need no gradient at all
};
template <class Be>
struct linear_operator_archetype {
  void begin(pass);
  out<Be> forward(index_t layer, in<Be> X);
  out<Be> backward(index_t layer, in<Be> X, in<Be> dY, bool need_dx);
  index_t first_trained();
};

// Anything with named linear layers and a loss over batches. Both functions begin a pass.
template <class N>
concept network = requires(N& net, typename N::backend_type& be,
                           const typename N::batch_type& batch,
                           linear_operator_archetype<typename N::backend_type>& lin) {
  requires backend<typename N::backend_type>;
  { net.backend() } -> std::same_as<typename N::backend_type&>;
  { net.layers() } -> std::same_as<std::span<layer<typename N::backend_type>>>;
  { net.loss(batch, lin) } -> std::same_as<scalar_of<typename N::backend_type>>;
  { net.loss_and_gradient(batch, lin) } -> std::same_as<scalar_of<typename N::backend_type>>;
};

// A linear layer at the end of a network that is trained beside the adapters, the same way for every
// method: W is outputs×features, b is outputs×1.
template <class Be>
struct head_params {
  mat<Be> W;
  mat<Be> b;
  static constexpr auto parts() {
    return std::tuple(make_part<role::weight>("W", &head_params::W),
                      make_part<role::bias>("b", &head_params::b));
  }
};
template <class Be>
struct trained_head {
  head_params<Be> parameters;
  head_params<Be> gradient;
};

// A network that has one. Its loss_and_gradient adds to head().gradient; a run sets that to zero
// before each step, and moves head().parameters.
template <class N>
concept trains_head = network<N> && requires(N& net) {
  { net.head() } -> std::same_as<trained_head<typename N::backend_type>&>;
};

// data: fills the batch of a step from a stream. The same (stream, step) gives the same batch.
template <class D, class Net>
concept data_source = requires(D& data, generator stream, index_t step,
                               typename Net::batch_type& batch) {
  { data.draw(stream, step, batch) } -> std::same_as<void>;
};

}  // namespace preheat
