// Built and run beside main.cpp where nlohmann_json is found: a tensor goes to a file and comes back.
#include <cstdio>
#include <filesystem>
#include <preheat/safetensors/safetensors.hpp>
#include <vector>

int main() {
  namespace safetensors = preheat::safetensors;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const std::filesystem::path path = "consumer.safetensors";
  safetensors::writer writer;
  writer.add<float>("weight", {2, 3}, values);
  writer.write(path);
  const bool same = safetensors::reader(path).values<float>("weight") == values;
  std::filesystem::remove(path);
  std::puts(same ? "preheat::files: written and read" : "preheat::files: another tensor came back");
  return same ? 0 : 1;
}
