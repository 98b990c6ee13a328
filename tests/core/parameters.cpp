// Parameter sets as a list of parts: visiting, copies, changes of rank, and the saved state.
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/adapter/full.hpp>
#include <preheat/core/archive.hpp>

#include "support/backends.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
using pair_of = typename adapter::lora::params<Be>;

template <class Be>
pair_of<Be> random_pair(Be& be) {
  return {matrix(be, random_table(4, 6, 500)), matrix(be, random_table(5, 4, 501))};
}

}  // namespace

TEST_CASE_TEMPLATE("parameters: trained parts are visited and counted", Be, PREHEAT_BACKENDS) {
  Be be;
  const pair_of<Be> p = random_pair(be);
  std::vector<std::string> names;
  for_each_trained([&](auto parameter, const auto&) { names.push_back(parameter.name); }, p);
  CHECK(names == std::vector<std::string>{"A", "B"});
  CHECK(trained_size(p) == 4 * 6 + 5 * 4);
  static_assert(trains<pair_of<Be>>(parameter_role::A) && trains<pair_of<Be>>(parameter_role::B));

  using train_b = typename adapter::asymmetric<parameter_role::B>::params<Be>;
  static_assert(!trains<train_b>(parameter_role::A) && trains<train_b>(parameter_role::B));
  const train_b half{matrix(be, random_table(4, 6, 500)), matrix(be, random_table(5, 4, 501))};
  CHECK(trained_size(half) == 5 * 4);
  names.clear();
  for_each([&](auto parameter, const auto&) { names.push_back(parameter.name); }, half);
  CHECK(names == std::vector<std::string>{"A", "B"});
  const train_b zero = zeros_like(be, half);
  CHECK(zero.A.rows() == 0);
  CHECK(same(read<Be>(be, zero.B), table(5, 4)));
}

TEST_CASE_TEMPLATE("parameters: a copy is independent", Be, PREHEAT_BACKENDS) {
  Be be;
  pair_of<Be> p = random_pair(be);
  const pair_of<Be> copy = clone_params(be, p);
  set_zero(be, p);
  CHECK(largest(read<Be>(be, p.A)) == 0);
  CHECK(largest(read<Be>(be, p.B)) == 0);
  const pair_of<Be> again = random_pair(be);
  CHECK(same(read<Be>(be, copy.A), read<Be>(be, again.A)));
  CHECK(same(read<Be>(be, copy.B), read<Be>(be, again.B)));
}

TEST_CASE_TEMPLATE("parameters: select_ranks keeps the listed ranks in order and appends zeros", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  pair_of<Be> p = random_pair(be);
  const table a = read<Be>(be, p.A);
  const table b = read<Be>(be, p.B);
  select_ranks(be, p, {3, 0}, 1);
  const table a2 = read<Be>(be, p.A);
  const table b2 = read<Be>(be, p.B);
  REQUIRE(a2.rows == 3);
  REQUIRE(b2.cols == 3);
  for (index_t j = 0; j < 6; ++j) {
    CHECK(a2(0, j) == a(3, j));
    CHECK(a2(1, j) == a(0, j));
    CHECK(a2(2, j) == 0);
  }
  for (index_t i = 0; i < 5; ++i) {
    CHECK(b2(i, 0) == b(i, 3));
    CHECK(b2(i, 1) == b(i, 0));
    CHECK(b2(i, 2) == 0);
  }
  // The gradient of a frozen factor stays empty.
  using train_b = typename adapter::asymmetric<parameter_role::B>::params<Be>;
  train_b half{matrix(be, a), matrix(be, b)};
  train_b gradient = zeros_like(be, half);
  select_ranks(be, gradient, {1}, 0);
  CHECK(gradient.A.rows() == 0);
  CHECK(gradient.B.cols() == 1);
}

namespace {

// A state with every kind of member that an archive carries.
template <class Be>
struct everything {
  double number = 0;
  index_t count = 0;
  bool flag = false;
  pair_of<Be> parameters{};
  mat<Be> loose{};
  std::vector<double> list{};
  std::vector<mat<Be>> matrices{};
  template <class Archive>
  void archive(Archive& ar) {
    ar("number", number);
    ar("count", count);
    ar("flag", flag);
    ar("parameters", parameters);
    ar("loose", loose);
    ar("list", list);
    ar("matrices", matrices);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("archive: what is saved is loaded bit for bit", Be, PREHEAT_BACKENDS) {
  using direction = typename archive<Be>::direction;
  Be be;
  everything<Be> from{.number = 0.1,
                      .count = -7,
                      .flag = true,
                      .parameters = random_pair(be),
                      .loose = be.zeros(0, 0),
                      .list = {1, 0.3, -2}};
  from.matrices.push_back(matrix(be, random_table(3, 2, 502)));
  from.matrices.push_back(matrix(be, random_table(1, 5, 503)));
  training_state state;
  archive<Be> saving(be, state, direction::save);
  saving("root", from);
  CHECK(state.entries.contains("root/parameters/A"));
  CHECK(state.entries.at("root/parameters/B").rows == 5);
  CHECK(state.entries.at("root/parameters/B").cols == 4);

  everything<Be> to;
  to.list = {5};
  archive<Be> loading(be, state, direction::load);
  loading("root", to);
  CHECK(to.number == 0.1);
  CHECK(to.count == -7);
  CHECK(to.flag);
  CHECK(same(read<Be>(be, to.parameters.A), read<Be>(be, from.parameters.A)));
  CHECK(same(read<Be>(be, to.parameters.B), read<Be>(be, from.parameters.B)));
  CHECK(to.loose.rows() == 0);
  CHECK(to.list == from.list);
  REQUIRE(to.matrices.size() == 2);
  CHECK(same(read<Be>(be, to.matrices[1]), read<Be>(be, from.matrices[1])));

  state.entries.erase("root/parameters/B");
  archive<Be> broken(be, state, direction::load);
  CHECK_THROWS_AS(broken("root", to), invalid_argument);
}
