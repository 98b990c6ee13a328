// The factored SVD in double; see hrp_svd.hpp.
#include "hrp_svd.hpp"

TEST_CASE("golden hrp: topr_gaussian in double") {
  golden::check_factored_svd<double>("hrp/topr_gaussian");
}
TEST_CASE("golden hrp: topr_ill_conditioned in double") {
  golden::check_factored_svd<double>("hrp/topr_ill_conditioned");
}
TEST_CASE("golden hrp: topr_rank_deficient in double") {
  golden::check_factored_svd<double>("hrp/topr_rank_deficient");
}
TEST_CASE("golden hrp: topr_zero_B in double") {
  golden::check_factored_svd<double>("hrp/topr_zero_B");
}
TEST_CASE("golden hrp: topr_repeated in double") {
  golden::check_factored_svd<double>("hrp/topr_repeated");
}
TEST_CASE("golden hrp: topr_wide_R in double") {
  golden::check_factored_svd<double>("hrp/topr_wide_R");
}
TEST_CASE("golden hrp: topr_tiny_scale in double") {
  golden::check_factored_svd<double>("hrp/topr_tiny_scale");
}
TEST_CASE("golden hrp: topr_mixed_scale in double") {
  golden::check_factored_svd<double>("hrp/topr_mixed_scale");
}
