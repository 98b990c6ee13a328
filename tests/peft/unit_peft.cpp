// PEFT folders, kohya files and sharded models: what is written is read back, ranks and scales follow
// PEFT's rules, and every broken folder is refused with one error that names the fault.
#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <preheat/files/atomic_folder.hpp>
#include <preheat/peft/reader.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/scratch.hpp"

namespace {

namespace fs = std::filesystem;
namespace files = preheat::files;
namespace peft = preheat::peft;
namespace safetensors = preheat::safetensors;
using preheat::index_t;
using safetensors::dtype;
using scratch::temporary_directory;
using scratch::write_file;

using config_fields = std::vector<std::pair<std::string, nlohmann::ordered_json>>;

// The text of an adapter_config.json with these fields beside peft_type.
std::string config_text(const config_fields& fields) {
  nlohmann::ordered_json config = {{"peft_type", "LORA"}};
  for (const auto& [key, value] : fields) {
    config[key] = value;
  }
  return config.dump();
}

peft::config config_of(const config_fields& fields) {
  return peft::config::parse(config_text(fields), "config");
}

// A folder of two modules, that a test then breaks.
struct folder {
  explicit folder(const fs::path& where) : path(where) { fs::create_directories(path); }

  void add(const std::string& name, std::vector<index_t> shape, dtype type = dtype::F32) {
    index_t count = 1;
    for (const index_t extent : shape) {
      count *= extent;
    }
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = float(i) - 3;
    }
    writer.add<float>(name, std::move(shape), values, type);
  }
  void add_layer(const std::string& module, index_t out, index_t in, index_t rank) {
    add("base_model.model." + module + ".lora_A.weight", {rank, in});
    add("base_model.model." + module + ".lora_B.weight", {out, rank});
  }
  void write(const config_fields& fields) const {
    writer.write(path / "adapter_model.safetensors");
    write_file(path / "adapter_config.json", config_text(fields));
  }
  // The error of opening it.
  std::string error() const {
    try {
      const peft::reader adapter(path);
    } catch (const preheat::io_error& refused) {
      return refused.what();
    }
    return "none";
  }

  fs::path path;
  safetensors::writer writer;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("peft config: PEFT's defaults, and the two scales") {
  const peft::config defaults = config_of({});
  CHECK(defaults.rank("q") == 8);
  CHECK(defaults.alpha("q") == 8);
  CHECK(defaults.scaling("q") == 1);
  CHECK(defaults.init() == "true");
  CHECK(config_of({{"r", 16}, {"lora_alpha", 8}}).scaling("q") == 0.5);
  const peft::config root = config_of({{"r", 16}, {"lora_alpha", 8}, {"use_rslora", true}});
  CHECK(root.scaling("q") == 2);
  CHECK(root.alpha_for(2, 16) == 8);
  CHECK(config_of({{"init_lora_weights", "pissa"}}).init() == "pissa");
}

TEST_CASE(
    "peft config: the first pattern in the order of the file that matches the end of a name") {
  const peft::config config =
      config_of({{"r", 4},
                 {"rank_pattern",
                  {{"layer.0.query", 8}, {"query", 2}, {"layer\\.\\d+\\.out", 3}, {"^value", 5}}},
                 {"alpha_pattern", {{"query", 6}}}});
  CHECK(config.rank("bert.layer.0.query") == 8);
  CHECK(config.rank("layer.0.query") == 8);
  CHECK(config.rank("bert.layer.1.query") == 2);
  CHECK(config.rank("query") == 2);
  CHECK(config.rank("xquery") == 4);  // the end of a name begins after a dot
  CHECK(config.rank("query.x") == 4);
  CHECK(config.rank("a.layer.12.out") == 3);
  CHECK(config.rank("value") == 5);
  CHECK(config.rank("a.value") == 4);
  CHECK(config.scaling("query") == 3);
}

TEST_CASE(
    "peft config: ranks and alphas that are set are read back, whatever order the keys are in") {
  peft::config config = config_of({{"r", 3}, {"somebody", {{"else's", 1}}}, {"use_rslora", true}});
  const std::vector<peft::module_rank> modules = {{"query", 2, 1.5},       {"layer.0.query", 7, 9},
                                                  {"layer.1.query", 2, 9}, {"value", 5, 1.5},
                                                  {"a.value", 2, 1.5},     {"out", 2, 2}};
  config.set_ranks(modules);
  const auto check = [&](const peft::config& read) {
    for (const peft::module_rank& m : modules) {
      CAPTURE(m.module);
      CHECK(read.rank(m.module) == m.rank);
      CHECK(read.alpha(m.module) == m.alpha);
    }
  };
  check(config);
  CHECK(config.fields()["somebody"]["else's"] == 1);
  CHECK(config.fields()["r"] == 2);
  CHECK(config.fields()["lora_alpha"].dump() == "1.5");
  CHECK(config.fields()["alpha_pattern"]["out"].dump() == "2");
  // PEFT sorts the keys when it saves the adapter again.
  const std::string sorted = nlohmann::json(config.fields()).dump();
  check(peft::config::parse(sorted, "sorted"));
}

TEST_CASE("peft config: what is refused, and what the error says") {
  const auto error = [](const std::string& text) -> std::string {
    try {
      peft::config::parse(text, "config");
    } catch (const preheat::io_error& refused) {
      return refused.what();
    }
    return "none";
  };
  CHECK(has(error("{"), "not JSON"));
  CHECK(has(error("[]"), "JSON object"));
  CHECK(has(error("{}"), "peft_type"));
  CHECK(has(error(R"({"peft_type":"ADALORA"})"), "ADALORA"));
  CHECK(has(error(R"({"peft_type":"LORA","peft_type":"LORA"})"), "twice"));
  CHECK(has(error(config_text({{"r", 0}})), "r: a rank is"));
  CHECK(has(error(config_text({{"r", 1e30}})), "r: a rank is"));
  CHECK(has(error(config_text({{"r", "8"}})), "r: a rank is"));
  CHECK(has(error(config_text({{"lora_alpha", "x"}})), "alpha is a finite number"));
  CHECK(has(error(config_text({{"use_rslora", 1}})), "use_rslora"));
  CHECK(has(error(config_text({{"rank_pattern", 3}})), "rank_pattern"));
  CHECK(has(error(config_text({{"rank_pattern", {{"a(", 3}}}})), "regular expression"));
  CHECK(has(error(config_text({{"rank_pattern", {{"(" + std::string(40'000, 'a') + ")", 3}}}})),
            "regular expression"));
  CHECK(error(config_text({{"rank_pattern", {{"q18446744073709551615", 3}}}})) ==
        "none");  // a name
#if !defined(PREHEAT_PCRE2)
  for (const char* const hostile : {"(a{9}){9}", "(a)|\\1"}) {
    CAPTURE(hostile);
    CHECK(has(error(config_text({{"rank_pattern", {{hostile, 3}}}})), "regular expression"));
  }
#endif
  CHECK(has(error(config_text({{"lora_alpha", nullptr}})), "lora_alpha"));
  CHECK(has(error(config_text({{"r", nullptr}})), "r: a rank is"));
  // Exponential for a matcher that backtracks.
  const peft::config slow = config_of({{"r", 4}, {"rank_pattern", {{"(a*)*(a*)*b", 3}}}});
  CHECK(slow.rank(std::string(60, 'a')) == 4);
  CHECK(has(error(config_text({{"kasa_config", {{"x", 1}}}})), "kasa_config"));
  CHECK(error(config_text({{"kasa_config", nullptr}, {"use_qalora", false}})) == "none");
  CHECK(has(error(std::string(100, '[')), "nested"));
}

TEST_CASE("peft adapter: layers, their names, shapes and scales, and what belongs to none") {
  const temporary_directory directory;
  folder f(directory / "a");
  f.add_layer("m.q", 6, 4, 2);
  f.add("base_model.model.m.q.lora_B.bias", {6});
  f.add("base_model.model.emb.lora_embedding_A", {2, 10});
  f.add("base_model.model.emb.lora_embedding_B", {5, 2});
  f.add("base_model.model.conv.lora_A.weight", {2, 3, 3, 3}, dtype::BF16);
  f.add("base_model.model.conv.lora_B.weight", {7, 2, 1, 1}, dtype::BF16);
  f.add("base_model.model.head.weight", {3, 6});
  f.write({{"r", 2}, {"lora_alpha", 6}});
  const peft::reader adapter(f.path);
  REQUIRE(adapter.layers().size() == 3);
  const peft::adapter_layer* const conv = adapter.find("conv");
  REQUIRE(conv != nullptr);
  CHECK(conv->in == 27);
  CHECK(conv->out == 7);
  const peft::adapter_layer* const embedding = adapter.find("emb");
  REQUIRE(embedding != nullptr);
  CHECK(embedding->embedding);
  CHECK(embedding->in == 10);
  CHECK(embedding->out == 5);
  const peft::adapter_layer* const q = adapter.find("m.q");
  REQUIRE(q != nullptr);
  CHECK(q->scaling == 3);
  CHECK(q->bias == "base_model.model.m.q.lora_B.bias");
  CHECK(adapter.find("m.k") == nullptr);
  CHECK(adapter.others() == std::vector<std::string>{"base_model.model.head.weight"});
}

TEST_CASE("peft adapter: a kohya file has its alphas beside the factors") {
  const temporary_directory directory;
  const fs::path file = directory / "lora.safetensors";
  folder f(directory / "unused");
  f.add("lora_unet_q.lora_down.weight", {4, 6}, dtype::F16);
  f.add("lora_unet_q.lora_up.weight", {5, 4}, dtype::F16);
  f.writer.add_scalar<float>("lora_unet_q.alpha", 2, dtype::BF16);
  f.add("lora_te_k.lora_down.weight", {2, 6});
  f.add("lora_te_k.lora_up.weight", {5, 2});
  f.writer.write(file);
  const peft::reader adapter(file);
  CHECK_FALSE(adapter.is_folder());
  REQUIRE(adapter.layers().size() == 2);
  CHECK(adapter.find("lora_unet_q")->scaling == 0.5);
  CHECK(adapter.find("lora_te_k")->scaling == 1);  // without alpha, α = r
}

TEST_CASE("peft adapter: every broken folder is refused, and the error names the fault") {
  const temporary_directory directory;
  const std::string A = "base_model.model.q.lora_A.weight";
  const std::string B = "base_model.model.q.lora_B.weight";
  int number = 0;
  const auto refused = [&](const auto& build, const config_fields& fields = {{"r", 2}}) {
    folder f(directory / std::to_string(number++));
    build(f);
    f.write(fields);
    return f.error();
  };
  CHECK(refused([](folder& f) { f.add_layer("q", 5, 6, 2); }) == "none");
  CHECK(has(refused([&](folder& f) { f.add(A, {2, 6}); }), "its partner B is missing"));
  CHECK(has(refused([&](folder& f) { f.add(B, {5, 2}); }), "its partner A is missing"));
  CHECK(has(refused([&](folder& f) {
              f.add(A, {2, 6});
              f.add(B, {5, 3});
            }),
            "[5, 3]"));
  CHECK(has(refused([&](folder& f) {
              f.add(A, {2, 0});
              f.add(B, {5, 2});
            }),
            "none of them 0"));
  CHECK(has(refused([&](folder& f) {
              f.add(A, {12});
              f.add(B, {5, 2});
            }),
            "two dimensions"));
  CHECK(has(refused([](folder& f) { f.add_layer("q", 5, 6, 3); }), "adapter_config.json says 2"));
  CHECK(has(refused([](folder& f) { f.add_layer("q", 5, 6, 2); }, {{"r", 2}, {"use_dora", true}}),
            "use_dora true"));
  CHECK(has(refused([](folder& f) {
              f.add_layer("q", 5, 6, 2);
              f.add("base_model.model.q.lora_magnitude_vector", {4});
            }),
            "one entry for each of the 5 outputs"));
  CHECK(has(refused([](folder& f) {
              f.add_layer("q", 5, 6, 2);
              f.add("q.lora_A.weight", {2, 6});
            }),
            "means the same"));
  CHECK(has(refused([&](folder& f) {
              const std::vector<std::int8_t> quantized(12);
              f.writer.add<std::int8_t>(A, {2, 6}, quantized);
              f.add(B, {5, 2});
            }),
            "stored as I8"));
  CHECK(has(refused([](folder& f) { f.add("classifier.weight", {2, 6}); }), "no LoRA tensors"));
  CHECK(has(refused([](folder& f) {
              f.add_layer("q", 5, 6, 2);
              f.add("q.lora_E", {2, 1});
            }),
            "not understood"));
  CHECK(has(folder(directory / "empty").error(), "adapter_config.json"));
  folder pickled(directory / "pickled");
  write_file(pickled.path / "adapter_config.json", config_text({}));
  write_file(pickled.path / "adapter_model.bin", "x");
  CHECK(has(pickled.error(), "pickled"));
}

TEST_CASE("tensor files: shards by an index, a folder, one file") {
  const temporary_directory directory;
  const std::vector<float> values(6, 1.5F);
  for (const char* const name : {"a", "b"}) {
    safetensors::writer writer;
    writer.add<float>(name, {2, 3}, values);
    writer.write(directory / (std::string(name) + ".safetensors"));
  }
  const auto write_index = [&](const nlohmann::json& map) {
    write_file(directory / "model.safetensors.index.json",
               nlohmann::json{{"weight_map", map}}.dump());
  };
  write_index({{"a", "a.safetensors"}, {"b", "b.safetensors"}});
  const safetensors::tensor_files model(directory.path());
  CHECK(model.file_count() == 2);
  CHECK(model.tensors().size() == 2);
  CHECK(model.info("b").shape == std::vector<index_t>{2, 3});
  model.release("b");
  std::vector<float> read(6);
  safetensors::read_rows("b", model.info("b"), 0, preheat::view<float>(read.data(), 3, 2));
  CHECK(read == values);
  CHECK_THROWS_WITH_AS(model.info("c"), doctest::Contains("the closest are"),
                       preheat::invalid_argument);
  CHECK(safetensors::tensor_files(directory / "a.safetensors").tensors().size() == 1);

  const auto refused = [&](const nlohmann::json& map, const char* problem) {
    write_index(map);
    CHECK_THROWS_WITH_AS(safetensors::tensor_files(directory.path()), doctest::Contains(problem),
                         preheat::io_error);
  };
  refused({{"a", "b.safetensors"}}, "is not in");
  refused({{"a", "../a.safetensors"}}, "beside the index");
  refused({{"a", 3}}, "beside the index");
  refused({{"a", "missing.safetensors"}}, "missing.safetensors");
  refused(nlohmann::json::object(), "weight_map");
}

TEST_CASE("tensor values: rows of a file are columns of a matrix, to and fro in every dtype") {
  const std::vector<double> values = {1, -2.5, 0.1, 3e4, 0, 7};
  const preheat::view<const double> columns(values.data(), 3, 2);
  for (const dtype type : {dtype::F64, dtype::F32, dtype::F16, dtype::BF16}) {
    CAPTURE(safetensors::name_of(type));
    const std::vector<std::byte> bytes = safetensors::rows_as_bytes("t", columns, type);
    const safetensors::tensor_info tensor{type, {2, 3}, bytes};
    std::vector<double> read(6);
    safetensors::read_rows("t", tensor, 0, preheat::view<double>(read.data(), 3, 2));
    const double relative = type == dtype::F64 ? 0 : type == dtype::F32 ? 1e-7 : 0.004;
    for (std::size_t i = 0; i < 6; ++i) {
      CHECK(std::abs(read[i] - values[i]) <= relative * std::abs(values[i]));
    }
    std::vector<double> last(2);
    safetensors::read_rows("t", tensor, 4, preheat::view<double>(last.data(), 2, 1));
    CHECK(last[1] == read[5]);
    CHECK_THROWS_AS(
        safetensors::read_rows("t", tensor, 5, preheat::view<double>(last.data(), 2, 1)),
        preheat::invalid_argument);
  }
  const std::vector<double> large = {1e300};
  const preheat::view<const double> one(large.data(), 1, 1);
  CHECK_THROWS_WITH_AS(safetensors::rows_as_bytes("big", one, dtype::F16),
                       doctest::Contains("too large"), preheat::invalid_argument);
  const std::vector<double> infinite = {std::numeric_limits<double>::infinity()};
  CHECK_NOTHROW(safetensors::rows_as_bytes(
      "inf", preheat::view<const double>(infinite.data(), 1, 1), dtype::BF16));
}

TEST_CASE("safetensors stream: the bytes of any order make the file of write_safetensors") {
  const temporary_directory directory;
  const std::vector<float> a = {1, 2, 3, 4};
  const std::vector<double> b = {5, 6};
  safetensors::writer writer;
  writer.metadata("format", "pt");
  writer.add<float>("a", {2, 2}, a);
  writer.add<double>("b", {2}, b);
  writer.write(directory / "whole");
  const std::vector<safetensors::planned_tensor> plan = {{"a", dtype::F32, {2, 2}},
                                                         {"b", dtype::F64, {2}}};
  {
    safetensors::stream stream(directory / "pieces", plan, {{"format", "pt"}});
    const std::span<const std::byte> bytes = std::as_bytes(std::span(a));
    stream.write("a", bytes.subspan(8), 8);
    CHECK_THROWS_AS(stream.commit(), preheat::invalid_argument);  // nothing of b, half of a
    stream.write("b", std::as_bytes(std::span(b)));
    stream.write("a", bytes.first(8));
    CHECK_THROWS_AS(stream.write("a", bytes, 8), preheat::invalid_argument);
    CHECK_THROWS_AS(stream.write("c", bytes), preheat::invalid_argument);
    stream.commit();
  }
  CHECK(scratch::read_file(directory / "pieces") == scratch::read_file(directory / "whole"));
  CHECK_THROWS_AS(safetensors::stream(directory / "x", {plan[0], plan[0]}),
                  preheat::invalid_argument);
  { const safetensors::stream abandoned(directory / "y", plan); }
  CHECK(directory.file_names() == std::vector<std::string>{"pieces", "whole"});
}

TEST_CASE("atomic folder: appears when it is committed, never replaces, leaves nothing else") {
  const temporary_directory directory;
  {
    files::atomic_folder abandoned((directory / "a").string() + "/");
    write_file(abandoned.path() / "file", "x");
  }
  CHECK(directory.file_names().empty());
  {
    files::atomic_folder kept(directory / "a");
    write_file(kept.path() / "file", "x");
    kept.commit();
  }
  CHECK(scratch::read_file(directory / "a" / "file") == "x");
  CHECK_THROWS_WITH_AS(files::atomic_folder(directory / "a"), doctest::Contains("exists already"),
                       preheat::io_error);
  {
    files::atomic_folder late(directory / "b");
    fs::create_directory(directory / "b");  // somebody else was quicker
    CHECK_THROWS_AS(late.commit(), preheat::io_error);
  }
  CHECK(directory.file_names() == std::vector<std::string>{"a", "b"});
  CHECK_THROWS_AS(files::atomic_folder(directory / "none" / "a"), preheat::io_error);
}
