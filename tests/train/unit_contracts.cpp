// What a contract asks for and no compiler can see: each mistake is refused when it is made, with the
// names of what is wrong. (What a compiler can see is in compile_fail.)
// Compiled alone, because it quotes the names of its types.
#include <doctest/doctest.h>

#include <preheat/preheat.hpp>
#include <span>
#include <string>
#include <vector>

using namespace preheat;

using be_type = cpu<double>;

// The loss of nn::least_squares of a 3×5 matrix, by a network that does not begin some of its passes.
class forgetful_network {
 public:
  using backend_type = be_type;
  using batch_type = nn::least_squares<be_type>::batch_type;

  explicit forgetful_network(pass_kind forgotten)
      : body_(be_, be_.zeros(3, 5), be_.zeros(3, 5)), forgotten_(forgotten) {}
  be_type& backend() { return be_; }
  std::span<base_layer<be_type>> layers() { return body_.layers(); }
  nn::least_squares<be_type>::oracle batches() const { return {}; }

  template <class Linear>
  double loss(const batch_type& batch, Linear& linear) {
    silenced<Linear> through{linear, forgotten_};
    return body_.loss(batch, through);
  }
  template <class Linear>
  double loss_and_gradient(const batch_type& batch, Linear& linear) {
    silenced<Linear> through{linear, forgotten_};
    return body_.loss_and_gradient(batch, through);
  }

 private:
  // A linear operator that hands everything on but the begin of one kind of pass.
  template <class Linear>
  struct silenced {
    Linear& linear;
    pass_kind forgotten;
    void begin(pass_kind p) {
      if (p != forgotten) {
        linear.begin(p);
      }
    }
    auto forward(index_t l, const_view_of<be_type> X) { return linear.forward(l, X); }
    auto backward(index_t l, const_view_of<be_type> X, const_view_of<be_type> dY, bool need_dx) {
      return linear.backward(l, X, dY, need_dx);
    }
  };

  be_type be_;
  nn::least_squares<be_type> body_;
  pass_kind forgotten_;
};

// Inits of the shapes that their settings say, for a layer of 3×5 and rank 2.
struct shaped_init {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;
  index_t rows_of_a = 2, cols_of_a = 5, rows_of_b = 3, cols_of_b = 2, size_of_r = 0;

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>&) const {
    return {be.zeros(rows_of_a, cols_of_a), be.zeros(rows_of_b, cols_of_b),
            be.zeros(size_of_r, size_of_r)};
  }
};
struct transposing_init {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::new_base;

  template <backend Be>
  replacement<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return {{be.zeros(s.rank, s.W.cols()), be.zeros(s.W.rows(), s.rank)},
            be.zeros(s.W.cols(), s.W.rows())};
  }
};
// It learns something of no layer at all.
struct learning_nothing {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;
  template <class Be>
  using calibration = mat<Be>;
  index_t calibration_steps(index_t) const { return 1; }
  template <class Context>
  std::vector<mat<be_type>> calibrate(Context&) const {
    return {};
  }
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const mat<Be>&) const {
    return {be.zeros(s.rank, s.W.cols()), be.zeros(s.W.rows(), s.rank)};
  }
};

namespace {

template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const invalid_argument& error) {
    return error.what();
  }
  return "(not refused)";
}

template <class Init>
std::string start_refusal(const Init& init) {
  be_type be;
  nn::least_squares<be_type> net(be, be.zeros(3, 5), be.zeros(3, 5));
  auto batches = net.batches();
  return refusal([&] { start_run(method<Init>{.init = init}, net, batches, {.rank = 2}); });
}

const std::string no_begin =
    "preheat: a network calls linear.begin(pass_kind) before the first forward of a pass";

}  // namespace

TEST_CASE("a network that does not begin its training passes is refused in the first step") {
  forgetful_network net(pass_kind::training);
  CHECK(refusal([&] { fit(lora{}, net, net.batches(), {.rank = 2, .steps = 2}); }) == no_begin);
}

TEST_CASE(
    "a network that does not begin its evaluation passes is refused in the first evaluation") {
  forgetful_network net(pass_kind::evaluation);
  CHECK(refusal([&] { fit(lora{}, net, net.batches(), {.rank = 2, .steps = 2}); }) ==
        "(not refused)");
  const fit_options evaluated{.rank = 2, .steps = 2, .evaluate_every = 1};
  CHECK(refusal([&] { fit(lora{}, net, net.batches(), evaluated, {}); }) == no_begin);
}

TEST_CASE("a network that does not begin a pass is refused when an init watches its inputs") {
  forgetful_network net(pass_kind::evaluation);
  recorder<be_type> watch(net, {0});
  CHECK(refusal([&] { net.loss({}, watch); }) == no_begin);
}

TEST_CASE("factors of the wrong shape are refused with the names of init, layer and factor") {
  const std::string who = "preheat: shaped_init for layer 'weight': ";
  CHECK(start_refusal(shaped_init{}) == "(not refused)");
  CHECK(start_refusal(shaped_init{.rows_of_a = 5, .cols_of_a = 2}) ==
        who + "A (rank x in) is 5x2 and should be 2x5");
  CHECK(start_refusal(shaped_init{.rows_of_b = 2, .cols_of_b = 3}) ==
        who + "B (out x rank) is 2x3 and should be 3x2");
  CHECK(start_refusal(shaped_init{.size_of_r = 3}) ==
        who + "R (rank x rank) is 3x3 and should be 2x2");
  CHECK(start_refusal(transposing_init{}) ==
        "preheat: transposing_init for layer 'weight': the new W (out x in) is 5x3 and should be "
        "3x5");
}

TEST_CASE("an init that learns of too few layers is refused by name") {
  CHECK(start_refusal(learning_nothing{}) ==
        "preheat: learning_nothing: calibrate returns one entry per layer of the network (0, 1)");
}
