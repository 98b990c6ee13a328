// The version, and the names of the one before. tests/release.sh compiles this file too: each line that ends in `renamed` must
// give a warning, and with g++ those that end in `renamed template`, of which clang 14 does not warn.
#include <doctest/doctest.h>

#include <string>
#include <type_traits>
#include <vector>

#include <preheat/adapter/lora.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/deprecated.hpp>
#include <preheat/init/kaiming.hpp>
#include <preheat/version.hpp>

#ifndef PREHEAT_WARN_OF_RENAMED
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif

// clang-format off
namespace old {
using Be = preheat::cpu<float>;
struct pair {
  int a = 1, b = 2;
  static constexpr auto parameters() {
    return std::tuple(preheat::make_part<preheat::parameter_role::A>("a", &pair::a),                                // renamed
                      preheat::make_parameter<preheat::parameter_role::B, preheat::along::none, false>("b", &pair::b));
  }
};
using one_part = preheat::part<preheat::parameter_role::A, preheat::along::none, true, pair, int>;                  // renamed template
template <class Method, class Net, class Data>
using one_run = preheat::run<Method, Net, Data, false>;                                                             // renamed template
static_assert(std::is_same_v<preheat::op, preheat::transpose>);                                                     // renamed
static_assert(std::is_same_v<preheat::in<Be>, preheat::const_view_of<Be>>);                                         // renamed template
static_assert(std::is_same_v<preheat::out<Be>, preheat::view_of<Be>>);                                              // renamed template
static_assert(std::is_same_v<preheat::site<Be>, preheat::target_layer<Be>>);                                        // renamed template
static_assert(std::is_same_v<preheat::layer<Be>, preheat::base_layer<Be>>);                                         // renamed template
static_assert(std::is_same_v<preheat::start, preheat::initial_product>);                                            // renamed
static_assert(std::is_same_v<preheat::side, preheat::singular_side>);                                               // renamed
static_assert(std::is_same_v<preheat::role, preheat::parameter_role>);                                              // renamed
static_assert(std::is_same_v<preheat::pass, preheat::pass_kind>);                                                   // renamed
static_assert(std::is_same_v<preheat::memory, preheat::memory_kind>);                                               // renamed
static_assert(std::is_same_v<preheat::share, preheat::shard>);                                                      // renamed
static_assert(std::is_same_v<preheat::progress, preheat::training_progress>);                                       // renamed
static_assert(std::is_same_v<preheat::gradient_exchange<Be>, preheat::gradient_all_reduce<Be>>);                    // renamed template
static_assert(std::is_same_v<preheat::init::default_warm, preheat::init::default_preheat>);                         // renamed
static_assert(std::is_same_v<preheat::nn::dropout_site, preheat::nn::dropout_stream>);                              // renamed
static_assert(!preheat::gathers_evidence<preheat::init::kaiming>);                                                  // renamed
static_assert(preheat::widening_backend<Be> == preheat::mixed_precision_backend<Be>);
static_assert(!preheat::shared_data_source<int, int>);
}  // namespace old

TEST_CASE("version: functions of 0.1 do what the new ones do") {
  old::pair p;
  int all = 0, trained = 0;
  preheat::visit_all([&](auto, int x) { all += x; }, p);                                                            // renamed
  preheat::visit([&](auto, int x) { trained += x; }, p);                                                            // renamed
  CHECK(all == 3);
  CHECK(trained == 1);
  CHECK(old::one_part{"a", &old::pair::a}.role == preheat::parameter_role::A);
  const preheat::init::kaiming init{};
  CHECK(&preheat::later_init(init) == &init);                                                                       // renamed
  const preheat::generator gen(7);
  CHECK(preheat::choose(3, 9, gen) == preheat::random_subset(3, 9, gen));                                           // renamed
  std::vector<int> a{1, 2, 3, 4, 5, 6}, b = a;
  preheat::shuffle(a, gen);                                                                                         // renamed
  preheat::random_shuffle(b, gen);
  CHECK(a == b);
}
// clang-format on

TEST_CASE("version: the text has the numbers") {
  CHECK(preheat::version() == std::to_string(PREHEAT_VERSION_MAJOR) + "." +
                                  std::to_string(PREHEAT_VERSION_MINOR) + "." +
                                  std::to_string(PREHEAT_VERSION_PATCH));
}
