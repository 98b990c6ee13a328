// The factored SVD in float; see hrp_svd.hpp.
#include "hrp_svd.hpp"

TEST_CASE("golden hrp: topr_gaussian in float") {
  golden::check_factored_svd<float>("hrp/topr_gaussian");
}
TEST_CASE("golden hrp: topr_ill_conditioned in float") {
  golden::check_factored_svd<float>("hrp/topr_ill_conditioned");
}
TEST_CASE("golden hrp: topr_rank_deficient in float") {
  golden::check_factored_svd<float>("hrp/topr_rank_deficient");
}
TEST_CASE("golden hrp: topr_zero_B in float") {
  golden::check_factored_svd<float>("hrp/topr_zero_B");
}
TEST_CASE("golden hrp: topr_repeated in float") {
  golden::check_factored_svd<float>("hrp/topr_repeated");
}
TEST_CASE("golden hrp: topr_wide_R in float") {
  golden::check_factored_svd<float>("hrp/topr_wide_R");
}
TEST_CASE("golden hrp: topr_tiny_scale in float") {
  golden::check_factored_svd<float>("hrp/topr_tiny_scale");
}
TEST_CASE("golden hrp: topr_mixed_scale in float") {
  golden::check_factored_svd<float>("hrp/topr_mixed_scale");
}
