// Data-parallel training: several processes give what one gives, hold the same bits, and send no
// more than they must.
#include <doctest/doctest.h>

#include <atomic>
#include <preheat/comm/self.hpp>
#include <preheat/methods.hpp>
#include <preheat/safetensors/checkpoint.hpp>

#include "as_one_process.hpp"
#include "support/backends.hpp"
#include "support/scratch.hpp"
#include "world.hpp"

using namespace preheat;
using comm_test::gap;
using comm_test::numbers;
using comm_test::world;
using conformance::cpu_double;
using conformance::cpu_float;
using conformance::problem;

namespace {

void require_same_bits(const std::vector<double>& x, const std::string& what) {
  comm_test::require_same_bits(world(), x, what);
}
template <class Be, class Method, class... Validation>
void check_same(const Method& m, const fit_options& options, Validation... validation) {
  comm_test::check_same<Be>(world(), m, options, validation...);
}

const auto all_tokens = [](auto& p) -> auto& {
  return p.all;
};

}  // namespace

#define BOTH_SCALARS cpu_double, cpu_float

TEST_CASE_TEMPLATE("as one process: LoRA", Be, BOTH_SCALARS) {
  check_same<Be>(lora{.optim = {.lr = 1e-2}}, {.rank = 2, .steps = 20});
}

TEST_CASE_TEMPLATE("as one process: dropout, accumulation, clipping, a schedule, some layers", Be,
                   BOTH_SCALARS) {
  fit_options options{.rank = 2, .steps = 40, .targets = {"layers.0", "layers.2"}};
  options.schedule = schedule::cosine{.warmup = 3};
  options.dropout = 0.2;
  options.accumulate = 2;
  options.max_gradient_norm = 0.3;
  check_same<Be>(lora{.optim = {.lr = 1e-2}}, options);
}

TEST_CASE_TEMPLATE("as one process: HRP, its preheating too", Be, BOTH_SCALARS) {
  check_same<Be>(hrp<>{.init = {.multiple = 3, .steps = 4}, .optim = {.lr = 1e-2}},
                 {.rank = 2, .steps = 20, .clamp_rank = true});
}

TEST_CASE_TEMPLATE("as one process: LoRA-GA, which changes W by gradients", Be, BOTH_SCALARS) {
  check_same<Be>(lora_ga<>{.init = {.gradient = {.batches = 3}}, .optim = {.lr = 1e-2}},
                 {.rank = 1, .steps = 20});
}

TEST_CASE_TEMPLATE("as one process: ALoRA, which moves ranks by validation", Be, BOTH_SCALARS) {
  const alora m{.optim = {.lr = 2e-2}, .rank = {.first = 4, .every = 4, .rounds = 3}};
  check_same<Be>(m, {.rank = 2, .steps = 20}, all_tokens);
}

TEST_CASE_TEMPLATE("as one process: SoRA, whose gates are thresholded", Be, BOTH_SCALARS) {
  const sora m{.optim = {.base = {.lr = 2e-2},
                         .eta = 1,
                         .xi = 1e-3,
                         .xi_last = 4e-2,
                         .schedule = optim::xi_schedule::linear,
                         .stages = 5}};
  check_same<Be>(m, {.rank = 3, .steps = 20});
}

TEST_CASE("as one process: PRILoRA, which watches the inputs of each share") {
  check_same<cpu_double>(prilora{.optim = {.lr = 1e-2}, .rank = {.every = 4}},
                         {.rank = 2, .steps = 20});
}

TEST_CASE("as one process: a chain with folds") {
  const rac_lora m{.optim = {.base = {.lr = 1e-2, .momentum = 0.9}}, .chain = {.period = 6}};
  check_same<cpu_double>(m, {.rank = 2, .steps = 20});
}

TEST_CASE("as one process: AdaLoRA, early stopping by the loss of the first process") {
  fit_options options{.rank = 3, .steps = 30};
  options.evaluate_every = 2;
  options.patience = 3;
  options.min_improvement = 0.01;
  check_same<cpu_double>(adalora{.optim = {.base = {.lr = 1e-2}}}, options, all_tokens);
}

// ------------------------------------------------------------------------------ what crosses

namespace {

using log_type = std::vector<std::string>;

// A communicator that writes down what it is asked for.
template <communicator C>
struct recording {
  static constexpr memory_kind reaches = C::reaches;
  C& base;
  log_type& log;

  int rank() const { return base.rank(); }
  int size() const { return base.size(); }
  template <class T>
  void start_sum(std::span<T> x) {
    log.push_back("sum " + std::to_string(x.size()));
    base.start_sum(x);
  }
  void wait() {
    log.push_back("wait");
    base.wait();
  }
  double sum(double here) {
    log.push_back("number");
    return base.sum(here);
  }
  template <class T>
  void broadcast(std::span<T> x, int root) {
    base.broadcast(x, root);
  }
  void barrier() { base.barrier(); }
  void abort(const std::string& why) { base.abort(why); }
};

// An operator and a network that write down when a layer's backward pass ends, and when that of the
// network does.
template <class Linear>
struct recording_operator {
  Linear& base;
  log_type& log;
  index_t lowest = 0;
  void begin(pass_kind p) { base.begin(p); }
  view_of<cpu_double> forward(index_t l, const_view_of<cpu_double> X) { return base.forward(l, X); }
  view_of<cpu_double> backward(index_t l, const_view_of<cpu_double> X, const_view_of<cpu_double> dY,
                               bool need_dx) {
    if (l < lowest) {
      return {};
    }
    const auto dX = base.backward(l, X, dY, need_dx);
    log.push_back("layer " + std::to_string(l));
    return dX;
  }
  index_t first_trained() { return base.first_trained(); }
};
struct recording_network {
  using backend_type = cpu_double;
  using batch_type = nn::labelled_batch<cpu_double>;
  nn::mlp<cpu_double>& base;
  log_type& log;
  bool diverges = false;
  index_t lowest = 0;  // layers before it are left out of the backward pass

  cpu_double& backend() const { return base.backend(); }
  std::span<base_layer<cpu_double>> layers() { return base.layers(); }
  template <class Linear>
  double loss(const batch_type& batch, Linear& linear) {
    return base.loss(batch, linear);
  }
  template <class Linear>
  double loss_and_gradient(const batch_type& batch, Linear& linear) {
    recording_operator<Linear> watched{linear, log, lowest};
    const double value = base.loss_and_gradient(batch, watched);
    log.push_back("end of backward");
    return diverges ? std::nan("") : value;
  }
};

}  // namespace

TEST_CASE("LoRA sends r(m+n) numbers a layer and step, each as soon as it is final") {
  log_type log;
  recording<comm::mpi> watched{world(), log};
  problem<cpu_double> p;  // layers 7 -> 11 -> 9 -> 3
  recording_network net{p.net, log};
  fit_options options{.rank = 2, .steps = 3, .processes = watched};
  auto r = start_run(lora{}, net, p.batches, options);
  for (int k = 0; k < 3; ++k) {
    log.clear();
    r.step();
    CHECK(log == log_type{"number",  // whether a process was asked to stop
                          "sum 24", "layer 2", "sum 40", "layer 1", "sum 36", "layer 0",
                          "end of backward", "wait", "number"});  // the loss
  }
}

TEST_CASE("accumulated batches cross once, and only what is trained") {
  log_type log;
  recording<comm::mpi> watched{world(), log};
  problem<cpu_double> p;
  recording_network net{p.net, log};
  fit_options options{.rank = 2, .steps = 3, .targets = {"layers.1"}, .processes = watched};
  options.accumulate = 2;
  auto r = start_run(lora_fa{}, net, p.batches, options);
  log.clear();
  r.step();
  CHECK(log == log_type{"number", "layer 2", "layer 1", "end of backward", "layer 2", "sum 18",
                        "layer 1", "end of backward", "wait", "number"});  // B alone: 9×2
}

TEST_CASE("one process alone is asked for nothing") {
  log_type log;
  comm::self self;
  recording<comm::self> watched{self, log};
  problem<cpu_double> p;
  fit_options options{.rank = 2, .steps = 3};
  problem<cpu_double> q;
  const auto plain = numbers(q, fit(lora{}, q.net, q.batches, options));
  options.processes = watched;
  const auto alone = numbers(p, fit(lora{}, p.net, p.batches, options));
  CHECK(log.empty());
  CHECK(alone == plain);
}

namespace {

// ½‖Y − target‖²/N of N columns; d is Y, and becomes the gradient.
double half_square(cpu_double& be, mat<cpu_double>& d, const_view_of<cpu_double> target) {
  be.apply(linalg::axpby<double>{-1, 1}, d, target);
  const double tokens = double(d.cols());
  const double value = be.dot(d, d) / (2 * tokens);
  be.apply(linalg::scale<double>{1 / tokens}, d);
  return value;
}

// Y = V·(W·(W·X)), both adapted: W is used twice. loss ½‖Y − target‖²/N.
struct tied_network {
  using backend_type = cpu_double;
  using batch_type = nn::labelled_batch<cpu_double>;
  cpu_double be{};
  std::vector<base_layer<cpu_double>> body = make_body(be);
  mat<cpu_double> d{};

  static std::vector<base_layer<cpu_double>> make_body(cpu_double& be) {
    std::vector<base_layer<cpu_double>> made;
    made.push_back({"W", linalg::normal(be, 5, 5, 0.5, generator(1))});
    made.push_back({"V", linalg::normal(be, 3, 5, 0.5, generator(2))});
    return made;
  }
  cpu_double& backend() { return be; }
  std::span<base_layer<cpu_double>> layers() { return body; }
  template <class Linear>
  double loss_and_gradient(const batch_type& batch, Linear& linear) {
    linear.begin(pass_kind::training);
    const auto once = linear.forward(0, batch.X);
    const auto twice = linear.forward(0, once);
    const auto Y = linear.forward(1, twice);
    be.resize(d, Y.rows(), Y.cols());
    be.copy(transpose::no, Y, d);
    const double value = half_square(be, d, batch.target);
    const auto d_twice = linear.backward(1, twice, d, true);
    const auto d_once = linear.backward(0, once, d_twice, true);
    linear.backward(0, batch.X, d_once, false);
    return value;
  }
  template <class Linear>
  double loss(const batch_type& batch, Linear& linear) {
    return loss_and_gradient(batch, linear);
  }
};

}  // namespace

TEST_CASE("a layer that is used twice is sent when its second use is behind") {
  log_type log;
  recording<comm::mpi> watched{world(), log};
  fit_options options{.rank = 2, .steps = 10};
  const auto fit_to = [&](tied_network& net) {
    nn::minibatches<cpu_double> data(net.be, linalg::normal(net.be, 5, 40, 1, generator(3)),
                                     linalg::normal(net.be, 3, 40, 1, generator(4)), 8);
    return fit(lora{.optim = {.lr = 1e-2}}, net, data, options);
  };
  tied_network one;
  const auto alone = fit_to(one);
  options.processes = watched;
  tied_network shared;
  const auto together = fit_to(shared);
  CHECK(gap(alone.losses, together.losses) < 1e-12);
  CHECK(std::count(log.begin(), log.end(), "sum 20") == 10);
  CHECK(std::count(log.begin(), log.end(), "sum 16") == 10);
}

namespace {

// Y = H·(W·X) + b: W is adapted, and H and b are the trained head. loss ½‖Y − target‖²/N.
struct headed_network {
  using backend_type = cpu_double;
  using batch_type = nn::labelled_batch<cpu_double>;
  cpu_double be{};
  std::vector<base_layer<cpu_double>> body = make_body(be);
  trained_head<cpu_double> top = make_head(be);
  mat<cpu_double> d{}, d_features{};

  static std::vector<base_layer<cpu_double>> make_body(cpu_double& be) {
    std::vector<base_layer<cpu_double>> made;
    made.push_back({"W", linalg::normal(be, 4, 5, 0.5, generator(1))});
    return made;
  }
  static trained_head<cpu_double> make_head(cpu_double& be) {
    trained_head<cpu_double> made;
    made.parameters = {linalg::normal(be, 3, 4, 0.5, generator(2)), be.zeros(3, 1)};
    made.gradient = zeros_like(be, made.parameters);
    return made;
  }
  cpu_double& backend() { return be; }
  std::span<base_layer<cpu_double>> layers() { return body; }
  trained_head<cpu_double>& head() { return top; }
  template <class Linear>
  double loss_and_gradient(const batch_type& batch, Linear& linear) {
    linear.begin(pass_kind::training);
    const auto features = linear.forward(0, batch.X);
    be.resize(d, 3, features.cols());
    be.gemm(1, transpose::no, top.parameters.W, transpose::no, features, 0, d);
    be.add_to_cols(top.parameters.b, d);
    const double value = half_square(be, d, batch.target);
    be.gemm(1, transpose::no, d, transpose::yes, features, 1, top.gradient.W);
    be.add_row_sums(1, d, top.gradient.b);
    be.resize(d_features, 4, d.cols());
    be.gemm(1, transpose::yes, top.parameters.W, transpose::no, d, 0, d_features);
    linear.backward(0, batch.X, d_features, false);
    return value;
  }
  template <class Linear>
  double loss(const batch_type& batch, Linear& linear) {
    return loss_and_gradient(batch, linear);
  }
};
static_assert(trains_head<headed_network>);

}  // namespace

TEST_CASE("as one process: a trained head, accumulated and clipped with the adapters") {
  fit_options options{.rank = 2, .steps = 10};
  options.accumulate = 2;
  options.max_gradient_norm = 0.5;
  const auto fit_to = [&](headed_network& net) {
    nn::minibatches<cpu_double> data(net.be, linalg::normal(net.be, 5, 40, 1, generator(3)),
                                     linalg::normal(net.be, 3, 40, 1, generator(4)), 8);
    return fit(lora{.optim = {.lr = 1e-2}}, net, data, options);
  };
  headed_network one;
  const auto alone = fit_to(one);
  options.processes = world();
  headed_network shared;
  const auto together = fit_to(shared);
  CHECK(gap(alone.losses, together.losses) < 1e-12);
  std::vector<double> heads = shared.be.download(shared.top.parameters.W);
  CHECK(gap(one.be.download(one.top.parameters.W), heads) < 1e-12);
  CHECK(gap(one.be.download(one.top.parameters.b), shared.be.download(shared.top.parameters.b)) <
        1e-12);
  CHECK_NOTHROW(require_same_bits(heads, "head"));
  if (world().rank() == world().size() - 1) {
    shared.be.fill(1, shared.top.parameters.b);
  }
  CHECK_THROWS_WITH_AS(fit_to(shared), "preheat: the processes of a run have the same base weights",
                       invalid_argument);
}

TEST_CASE("a layer that the backward pass of one process does not reach is summed all the same") {
  log_type log;
  problem<cpu_double> p;
  recording_network net{p.net, log};
  net.lowest = world().rank() == world().size() - 1 ? 1 : 0;
  const fit_options options{.rank = 2, .steps = 20, .processes = world()};
  auto r = start_run(lora{}, net, p.batches, options);
  r.step();
  const auto& gradient = r.adapters.layers()[0].gradient.B;
  CHECK(p.be.max_abs(gradient) > 0);
  CHECK_NOTHROW(require_same_bits(p.be.download(gradient), "gradient"));
}

// ------------------------------------------------------------------------- agreed on by all

namespace {

// A start that is another one in every process, as on machines that round otherwise.
struct start_by_process {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    mat<Be> A = be.zeros(s.rank, s.W.cols());
    be.fill(scalar_of<Be>(1 + world().rank()), A);
    return {std::move(A), be.zeros(s.W.rows(), s.rank)};
  }
};

}  // namespace

TEST_CASE("a start that differs is that of the first process") {
  problem<cpu_double> p;
  fit_options options{.rank = 2, .steps = 3, .processes = world()};
  auto r = start_run(method<start_by_process>{}, p.net, p.batches, options);
  for (const auto& adapted_layer : r.adapters.layers()) {
    for (const double a : p.be.download(adapted_layer.parameters.A)) {
      REQUIRE(a == 1);
    }
  }
  CHECK_NOTHROW(require_same_bits(numbers(p, r.run_to_end()), "result"));
}

TEST_CASE(
    "a stop in one process ends all at the same step; all go on from the first's checkpoint") {
  const int last = world().size() - 1;
  const index_t stop_after = 7;
  const lora m{.optim = {.lr = 1e-2}};
  fit_options options{.rank = 2, .steps = 20, .processes = world()};
  options.dropout = 0.1;
  problem<cpu_double> whole;
  const std::vector<double> uninterrupted =
      numbers(whole, fit(m, whole.net, whole.batches, options));

  // One folder, named by the first process.
  scratch::temporary_directory own;
  std::string folder = own.path().string();
  std::vector<double> letters(folder.begin(), folder.end());
  letters.resize(200, ' ');
  world().broadcast(std::span<double>(letters), 0);
  folder.assign(letters.begin(), letters.end());
  folder.resize(folder.find_last_not_of(' ') + 1);
  const std::string file = folder + "/run.safetensors";

  std::atomic<bool> stop = false;
  int observed = 0;
  int saved = 0;
  fit_options until = options;
  until.stop = &stop;
  until.observer = [&](const training_progress&) { ++observed; };
  until.checkpoint = [&](const training_state& s) {
    ++saved;
    safetensors::save_checkpoint(s, file);
  };
  problem<cpu_double> first;
  auto r = start_run(m, first.net, first.batches, until);
  while (!r.done()) {
    stop = world().rank() == last && r.steps_done() == stop_after;
    r.step();
  }
  const auto report = r.finish();
  CHECK(report.status == fit_status::interrupted);
  CHECK(report.steps == stop_after);
  CHECK(observed == (world().rank() == 0 ? stop_after : 0));
  CHECK(saved == (world().rank() == 0 ? 1 : 0));

  world().barrier();
  const auto state = safetensors::load_checkpoint(file);
  REQUIRE(state);
  options.resume = &*state;
  problem<cpu_double> second;
  CHECK(numbers(second, fit(m, second.net, second.batches, options)) == uninterrupted);
  world().barrier();
}

TEST_CASE("calibration is stopped in all processes by a stop in one") {
  std::atomic<bool> stop = world().rank() == world().size() - 1;
  fit_options options{.rank = 1, .steps = 20, .processes = world()};
  options.stop = &stop;
  problem<cpu_double> p;
  const auto report = fit(lora_ga<>{}, p.net, p.batches, options);
  CHECK(report.status == fit_status::interrupted);
  CHECK(report.steps == 0);
}

TEST_CASE("a loss that diverges in one process ends the run in all, the parameters untouched") {
  log_type log;
  problem<cpu_double> p;
  recording_network net{p.net, log};
  fit_options options{.rank = 2, .steps = 20, .processes = world()};
  auto r = start_run(lora{}, net, p.batches, options);
  r.step();
  net.diverges = world().rank() == world().size() - 1;
  const auto before = p.be.download(r.adapters.layers()[0].parameters.B);
  r.step();
  CHECK(r.done());
  CHECK(p.be.download(r.adapters.layers()[0].parameters.B) == before);
  const auto report = r.finish();
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.steps == 1);
}

// --------------------------------------------------------------------------------- bad input

namespace {

template <class Be>
struct unshared_batches {
  nn::minibatches<Be>& all;
  void load(const generator& stream, index_t step, nn::labelled_batch<Be>& batch) {
    all.load(stream, step, batch);
  }
};

struct device_world {
  static constexpr memory_kind reaches = memory_kind::device;
  int rank() const { return world().rank(); }
  int size() const { return world().size(); }
  template <class T>
  void start_sum(std::span<T>) {}
  void wait() {}
  double sum(double x) { return x; }
  template <class T>
  void broadcast(std::span<T>, int) {}
  void barrier() {}
  void abort(const std::string&) {}
};

template <class F>
void check_refused(F f, const std::string& words) {
  try {
    f();
    FAIL("not refused: " << words);
  } catch (const invalid_argument& error) {
    CHECK(std::string(error.what()) == "preheat: " + words);
  }
}

}  // namespace

TEST_CASE("what processes cannot share, or have differently, is refused by all of them") {
  problem<cpu_double> p;
  const fit_options options{.rank = 2, .steps = 5, .processes = world()};
  const bool last = world().rank() == world().size() - 1;
  const std::string n = std::to_string(world().size());
  const auto fit_with = [&](fit_options o, auto&& batches) { fit(lora{}, p.net, batches, o); };
  const auto batches_of = [&](index_t size) {
    return nn::minibatches<cpu_double>(p.be, clone<cpu_double>(p.be, p.X),
                                       clone<cpu_double>(p.be, p.labels), size);
  };

  check_refused([&] { fit_with(options, batches_of(5)); },
                "columns of a batch % processes = 0 (5, " + n + ")");
  check_refused([&] { fit_with(options, unshared_batches<cpu_double>{p.batches}); },
                "several processes need batches that can be shared: void load_shard(generator "
                "stream, index_t step, shard part, batch_type&)");
  fit_options other = options;
  other.seed = last ? 1 : 0;
  check_refused([&] { fit_with(other, p.batches); }, "the processes of a run have the same seed");
  other = options;
  other.steps = last ? 6 : 5;
  check_refused([&] { fit_with(other, p.batches); }, "the processes of a run have the same steps");
  training_state state;
  other = options;
  other.resume = last ? &state : nullptr;
  check_refused([&] { fit_with(other, p.batches); },
                "the processes of a run have the same saved state");
  device_world device;
  other = options;
  other.processes = device;
  check_refused([&] { fit_with(other, p.batches); },
                "a backend on the host needs a communicator that reaches its memory: comm::mpi");
  if (last) {
    p.be.fill(0, view(p.net.layers()[1].b).row_range(0, 1));
  }
  check_refused([&] { fit_with(options, p.batches); },
                "the processes of a run have the same base weights");
}

TEST_CASE("the last batch of an epoch is shared too") {
  problem<cpu_double> p;
  const fit_options options{.rank = 2, .steps = 8, .processes = world()};
  const auto fit_to = [&](index_t tokens, index_t size) {
    nn::minibatches<cpu_double> batches(
        p.be, clone<cpu_double>(p.be, view(p.X).col_range(0, tokens)),
        clone<cpu_double>(p.be, view(p.labels).col_range(0, tokens)), size);
    return fit(lora{}, p.net, batches, options).steps;
  };
  CHECK(fit_to(40, 12) == 8);  // 12, 12, 12, 4
  check_refused([&] { fit_to(39, 8); }, "columns of an epoch's last batch % processes = 0 (7, " +
                                            std::to_string(world().size()) + ")");
}
