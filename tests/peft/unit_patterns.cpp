// Patterns on the names of modules: as Python reads them, quickly, and written compactly.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <preheat/core/error.hpp>
#include <preheat/peft/compact_pattern.hpp>
#include <preheat/peft/config.hpp>
#include <string>
#include <vector>

namespace peft = preheat::peft;

namespace {

// Every module of a mixture of experts: layers × experts × 3.
std::vector<std::string> expert_modules(int layers, int experts) {
  std::vector<std::string> names;
  for (int l = 0; l < layers; ++l) {
    for (int e = 0; e < experts; ++e) {
      for (const char* const m : {"gate_proj", "up_proj", "down_proj"}) {
        names.push_back("model.layers." + std::to_string(l) + ".mlp.experts." + std::to_string(e) +
                        "." + m);
      }
    }
  }
  return names;
}

peft::config with_ranks(const nlohmann::ordered_json& pattern) {
  const nlohmann::ordered_json fields = {
      {"peft_type", "LORA"}, {"r", 4}, {"rank_pattern", pattern}};
  return peft::config::parse(fields.dump(), "config");
}

}  // namespace

TEST_CASE("peft patterns: a literal key matches what its expression matches") {
  // Dots match any character, a backslash makes them dots; the first key of the file counts.
  const peft::config c = with_ranks({{"a.b", 1}, {"x\\.y", 2}, {"^q", 3}, {"q", 5}, {"b", 6}});
  CHECK(c.rank("a.b") == 1);
  CHECK(c.rank("m.a_b") == 1);
  CHECK(c.rank("m.x.y") == 2);
  CHECK(c.rank("m.x_y") == 4);
  CHECK(c.rank("q") == 3);
  CHECK(c.rank("m.q") == 5);
  CHECK(c.rank("mq") == 4);
  CHECK(c.rank("c.b") == 6);
}

TEST_CASE("peft patterns: between expressions and names the order of the file decides") {
  const peft::config c = with_ranks({{"layers\\.[01]\\.q", 1}, {"q", 2}, {"layers\\.\\d+\\.q", 3}});
  CHECK(c.rank("layers.1.q") == 1);
  CHECK(c.rank("layers.7.q") == 2);
}

#if defined(PREHEAT_PCRE2)
TEST_CASE("peft patterns: repetitions, groups and look-around as in Python") {
  const peft::config c = with_ranks({{"layers\\.\\d{2}\\.q", 6},
                                     {"(?P<kind>k|v)_proj", 7},
                                     {"(?!layers\\.1\\.)layers\\.\\d\\.o", 8}});
  CHECK(c.rank("model.layers.12.q") == 6);
  CHECK(c.rank("model.layers.3.q") == 4);
  CHECK(c.rank("layers.3.v_proj") == 7);
  CHECK(c.rank("layers.2.o") == 8);
  CHECK(c.rank("layers.1.o") == 4);
  CHECK(peft::name_expression("a{,2}").matches("aa"));
  CHECK_FALSE(peft::name_expression("a{,2}").matches("aaa"));
}

TEST_CASE("peft patterns: a match that would take forever is refused") {
  const peft::name_expression hostile("(a|aa|a)*(a|aa)*(a|aa)*[bc]");
  CHECK_THROWS_WITH_AS(hostile.matches(std::string(200, 'a')), doctest::Contains("million steps"),
                       preheat::invalid_argument);
}
#endif

TEST_CASE("peft patterns: compact expressions match their names and no others") {
  const std::vector<std::string> all = expert_modules(4, 30);
  std::vector<std::string> chosen;
  std::vector<std::string> others = {"model.layers.0.mlp.experts.1", "gate_proj", "x"};
  for (std::size_t i = 0; i < all.size(); ++i) {
    (i % 7 < 3 ? chosen : others).push_back(all[i]);
  }
  chosen.push_back("model.layers.0");  // the beginning of others
  chosen.push_back("model.layers.0.mlp(x)+");
  const std::vector<std::string> expressions = peft::detail::compact_patterns(chosen, 50);
  CHECK(expressions.size() == (chosen.size() + 49) / 50);
  const auto matched = [&](const std::string& name) {
    return std::count_if(expressions.begin(), expressions.end(), [&](const std::string& e) {
      return peft::name_expression("(.*\\.)?(" + e + ")$").matches(name);
    });
  };
  for (const std::string& name : chosen) {
    CAPTURE(name);
    CHECK(matched(name) == 1);
    CHECK(matched("base." + name) == 0);
  }
  for (const std::string& name : others) {
    CAPTURE(name);
    CHECK(matched(name) == 0);
  }
}

TEST_CASE(
    "peft patterns: eighteen thousand modules of several ranks, written and read in seconds") {
  const std::vector<std::string> names = expert_modules(48, 128);
  std::vector<peft::module_rank> modules;
  for (std::size_t i = 0; i < names.size(); ++i) {
    modules.push_back({names[i], preheat::index_t(1 + (i * 2654435761U >> 7) % 8), 2});
  }
  const auto begin = std::chrono::steady_clock::now();
  peft::config c = peft::config::plain("", {"gate_proj", "up_proj", "down_proj"});
  c.set_ranks(modules);
  CHECK(c.fields()["rank_pattern"].size() <= 64);
  const peft::config read = peft::config::parse(c.fields().dump(), "again");
  std::size_t wrong = 0;
  for (const peft::module_rank& m : modules) {
    wrong += read.rank(m.module) == m.rank ? 0 : 1;
  }
  CHECK(wrong == 0);

  // The same with a key for every module, as others write it.
  nlohmann::ordered_json pattern = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < names.size(); i += 6) {
    pattern.push_back({names[i], 7});
  }
  const peft::config long_one = with_ranks(pattern);
  for (std::size_t i = 0; i < names.size(); ++i) {
    wrong += long_one.rank(names[i]) == (i % 6 == 0 ? 7 : 4) ? 0 : 1;
  }
  CHECK(wrong == 0);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  CHECK(seconds < 60);  // a minute where a square would take an hour
}
