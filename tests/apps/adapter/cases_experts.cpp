// Experts in one 3-D tensor.
#include "cases.hpp"

using namespace cases;
using doctest::Contains;

TEST_CASE("merge: experts in one tensor, as target_parameters adapts them") {
  const scratch::temporary_directory d;
  constexpr index_t E = 3;
  constexpr index_t r = 4;
  const std::string experts = "model.layers.0.mlp.experts";
  const matrix gate_up = random(E, 20 * 16, 1);  // [E, out, in]
  const matrix down = random(E, 10 * 16, 2);     // [E, in, out]
  const fs::path base =
      save(d / "base.safetensors",
           {{experts + ".gate_up_proj", {gate_up, std::vector<index_t>{E, 20, 16}}},
            {experts + ".down_proj", {down, std::vector<index_t>{E, 10, 16}}}});
  tensors all;
  const auto [A, B] = add_lora(all, experts + ".base_layer", 20, 16, 5, E * r);
  const auto [C, D] = add_lora(all, experts, 16, 10, 6, E * r);
  const fs::path adapter =
      folder(d / "a", {{"target_parameters", {"experts.gate_up_proj", "experts.down_proj"}}}, all);
  const fs::path out = merged(adapter, base, d / "m.safetensors");
  const matrix got_up = read(out, experts + ".gate_up_proj");
  const matrix got_down = read(out, experts + ".down_proj");
  const auto part_of_B = [&](const matrix& M, index_t e) {  // PEFT: reshape(out, r, E)
    matrix part(M.rows(), r);
    for (index_t k = 0; k < r; ++k) {
      part.col(k) = M.col(k * E + e);
    }
    return part;
  };
  for (index_t e = 0; e < E; ++e) {
    CAPTURE(e);
    const matrix up = 2 * part_of_B(B, e) * A.middleRows(e * r, r);
    CHECK(distance(Eigen::Map<const matrix>(got_up.row(e).data(), 20, 16) -
                       Eigen::Map<const matrix>(gate_up.row(e).data(), 20, 16),
                   up) < 1e-5);
    const matrix turned = (2 * part_of_B(D, e) * C.middleRows(e * r, r)).transpose();
    CHECK(distance(Eigen::Map<const matrix>(got_down.row(e).data(), 10, 16) -
                       Eigen::Map<const matrix>(down.row(e).data(), 10, 16),
                   turned) < 1e-5);
  }
  CHECK_THROWS_WITH(reduced({adapter}, d / "r", 2), Contains("target_parameters"));
}
