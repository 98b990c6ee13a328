// The commands of preheat-adapter on folders that PEFT saved: what they write is what PEFT writes where it
// has the same command, and obeys the mathematics where it has not.
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <preheat/peft/reader.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <string>
#include <vector>

#include "apps/adapter/commands.hpp"
#include "golden/fixtures.hpp"
#include "support/scratch.hpp"

namespace {

namespace fs = std::filesystem;
namespace peft = preheat::peft;
namespace safetensors = preheat::safetensors;
using golden::dense;
using golden::fixture;
using golden::index_t;
using scratch::temporary_directory;

// A tensor of an adapter as a matrix of doubles, [rows, all the rest].
dense matrix(const safetensors::tensor_files& files, const std::string& name) {
  const safetensors::tensor_info& tensor = files.info(name);
  const index_t rows = tensor.shape[0];
  dense transposed(tensor.count() / rows, rows);
  safetensors::read_rows<double>(name, tensor, 0,
                                 preheat::view<double>(transposed.data(), transposed.rows(), rows));
  return transposed.transpose();
}

struct factors {
  dense A;
  dense B;
  double s = 1;
  dense delta() const { return s * B * A; }
};

factors factors_of(const peft::reader& adapter, const std::string& module) {
  const peft::adapter_layer* const layer = adapter.find(module);
  REQUIRE(layer != nullptr);
  return {matrix(adapter.files(), layer->A), matrix(adapter.files(), layer->B), layer->scaling};
}

void check_below(double value, double bound) {
  CHECK(value <= bound);
}

nlohmann::json fields(const peft::reader& adapter) {
  return nlohmann::json(adapter.config().fields());
}

// The fields of a config that a command has no business with.
nlohmann::json other_fields(const peft::reader& adapter) {
  nlohmann::json all = fields(adapter);
  for (const char* const key :
       {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "init_lora_weights", "use_rslora"}) {
    all.erase(key);
  }
  return all;
}

void check_same_bytes(const safetensors::tensor_files& a, const safetensors::tensor_files& b,
                      const std::string& name) {
  CAPTURE(name);
  REQUIRE(a.contains(name));
  CHECK(a.info(name).shape == b.info(name).shape);
  CHECK(std::ranges::equal(a.info(name).bytes, b.info(name).bytes));
}

void check_reading(const std::string& name) {
  const fixture file("bert/" + name + "/io");
  const peft::reader adapter(golden::path_of("bert/" + name + "/adapter"));
  REQUIRE(!adapter.layers().empty());
  for (const peft::adapter_layer& l : adapter.layers()) {
    CAPTURE(l.module);
    const std::string key = "per_module/" + l.module + "/";
    CHECK(l.rank == file.param<index_t>(key + "r"));
    CHECK(l.scaling == doctest::Approx(file.param<double>(key + "scaling")).epsilon(1e-15));
  }
}

void check_merging(const std::string& name) {
  const fixture file("bert/" + name + "/io");
  const temporary_directory directory;
  apps::adapter::merge_options o;
  o.adapters = {golden::path_of("bert/" + name + "/adapter")};
  o.base = golden::path_of("bert/" + name + "/base");
  o.out = directory / "merged.safetensors";
  apps::adapter::merge(o);
  const peft::reader adapter(o.adapters.front());
  const safetensors::tensor_files base(o.base);
  const safetensors::tensor_files merged(o.out);
  CHECK(merged.tensors().size() == base.tensors().size());
  const std::string before = "merged.";
  for (const std::string& tensor : file.names()) {
    if (tensor.starts_with(before)) {
      golden::check_close(file, tensor, matrix(merged, tensor.substr(before.size())),
                          file.matrix(tensor), 1e-6);
    }
  }
  for (const auto& entry : base.tensors()) {
    const std::string& tensor = entry.first;
    const bool changed =
        adapter.find(tensor.substr(0, tensor.rfind('.'))) != nullptr && tensor.ends_with(".weight");
    if (changed) {
      continue;
    }
    // As in the base, or as the adapter's modules_to_save have it.
    const std::string saved = "base_model.model." + tensor;
    const bool replaced = adapter.files().contains(saved);
    const safetensors::tensor_info& expected =
        replaced ? adapter.files().info(saved) : entry.second;
    CAPTURE(tensor);
    CHECK(std::ranges::equal(merged.info(tensor).bytes, expected.bytes));
  }
}

// PEFT's conversion, tensor by tensor and bit by bit; and a recompression with the error that it reports.
void check_conversion(const std::string& name) {
  const temporary_directory directory;
  apps::adapter::convert_options o;
  o.adapter = golden::path_of("conversion/" + name + "/trained");
  o.initial = golden::path_of("conversion/" + name + "/init");
  o.out = directory / "converted";
  apps::adapter::convert(o);
  const peft::reader ours(o.out);
  const peft::reader theirs(golden::path_of("conversion/" + name + "/converted"));
  CHECK(ours.files().tensors().size() == theirs.files().tensors().size());
  for (const auto& entry : theirs.files().tensors()) {
    check_same_bytes(ours.files(), theirs.files(), entry.first);
  }
  CHECK(fields(ours)["r"] == fields(theirs)["r"]);
  CHECK(double(fields(ours)["lora_alpha"]) ==
        doctest::Approx(double(fields(theirs)["lora_alpha"])).epsilon(1e-14));
  CHECK(fields(ours)["init_lora_weights"] == fields(theirs)["init_lora_weights"]);
  CHECK(other_fields(ours) == other_fields(peft::reader(o.adapter)));

  o.rank = theirs.layers().front().rank / 2;
  o.out = directory / "small";
  o.json = directory / "report.json";
  apps::adapter::convert(o);
  const peft::reader small(o.out);
  const nlohmann::json report = nlohmann::json::parse(scratch::read_file(o.json));
  for (const nlohmann::json& layer : report.at("layers")) {
    const std::string module = layer.at("module");
    CAPTURE(module);
    const dense whole = factors_of(theirs, module).delta();
    const dense part = factors_of(small, module).delta();
    const double lost = (whole - part).squaredNorm() / whole.squaredNorm();
    CHECK(std::abs(lost - (1 - double(layer.at("retained_energy")))) < 1e-5);
    const Eigen::VectorXd sigma = Eigen::JacobiSVD<dense>(whole).singularValues();
    const index_t rank = layer.at("rank");
    const double least = sigma.tail(sigma.size() - std::min(rank, sigma.size())).squaredNorm();
    CHECK(std::abs(lost - least / whole.squaredNorm()) < 1e-5);
  }
}

// An adapter of one module in double.
void write_adapter(const fs::path& folder, const dense& A, const dense& B, double s) {
  fs::create_directories(folder);
  safetensors::writer writer;
  const auto add = [&](const std::string& name, const dense& M) {
    writer.add_column_major<double>("base_model.model.layer." + name + ".weight", M.rows(),
                                    M.cols(),
                                    std::span<const double>(M.data(), std::size_t(M.size())));
  };
  add("lora_A", A);
  add("lora_B", B);
  writer.write(folder / "adapter_model.safetensors");
  peft::config config = peft::config::plain("", {"layer"});
  config.set_ranks({{"layer", A.rows(), s * double(A.rows())}});
  config.write(folder / "adapter_config.json");
}

dense up_to_sign(dense M, const dense& like) {
  for (index_t j = 0; j < M.cols(); ++j) {
    M.col(j) *= M.col(j).dot(like.col(j)) < 0 ? -1 : 1;
  }
  return M;
}

void check_reduction(const std::string& job) {
  using kind = apps::adapter::reduce_options::kind;
  const fixture file("rank_reduction");
  const temporary_directory directory;
  const std::string key = "jobs/" + job + "/";
  const std::string type = file.param<std::string>(key + "combination_type");
  apps::adapter::reduce_options o;
  o.out = directory / "out";
  o.type = type == "svd" ? kind::svd : type == "cat" ? kind::cat : kind::linear;
  o.rank = o.type == kind::svd ? file.param<index_t>(key + "svd_rank") : 0;
  o.weights = file.param<std::vector<double>>(key + "weights");
  int number = 0;
  for (const std::string& name : file.param<std::vector<std::string>>(key + "adapters")) {
    o.adapters.push_back(directory / std::to_string(number++));
    write_adapter(o.adapters.back(), file.matrix(name + ".A"), file.matrix(name + ".B"),
                  file.param<double>("scaling/" + name));
  }
  apps::adapter::reduce(o);
  const peft::reader reduced(o.out);
  const factors ours = factors_of(reduced, "layer");
  CHECK(ours.s == file.param<double>("scaling/" + job));
  golden::check_close(file, job + ".delta", ours.delta(), file.matrix(job + ".delta"), 1e-10);
  const double rtol = o.type == kind::svd ? 1e-9 : 1e-12;
  golden::check_close(file, job + ".A",
                      up_to_sign(ours.A.transpose(), file.matrix(job + ".A").transpose()),
                      file.matrix(job + ".A").transpose(), rtol);
  golden::check_close(file, job + ".B", up_to_sign(ours.B, file.matrix(job + ".B")),
                      file.matrix(job + ".B"), rtol);
}

// A start from a folder that PEFT saved: orthonormal directions that span the main singular vectors, the
// other factor zero, every scale as it was, everything else as it was.
void check_hrp(const std::string& name, preheat::singular_side side) {
  const fixture file("bert/" + name + "/io");  // only for its name in errors
  const temporary_directory directory;
  apps::adapter::hrp_options o;
  o.adapter = golden::path_of("bert/" + name + "/adapter");
  o.side = side;
  o.out = directory / "start";
  const peft::reader warm(o.adapter);
  index_t least = warm.layers().front().rank;
  for (const peft::adapter_layer& l : warm.layers()) {
    least = std::min(least, l.rank);
  }
  const index_t rank = (least + 1) / 2;
  o.rank = rank;
  apps::adapter::hrp(o);
  const peft::reader start(o.out);
  REQUIRE(start.layers().size() == warm.layers().size());
  for (const peft::adapter_layer& l : warm.layers()) {
    CAPTURE(l.module);
    const factors before = factors_of(warm, l.module);
    const factors after = factors_of(start, l.module);
    CHECK(after.A.rows() == rank);
    CHECK(after.s == doctest::Approx(before.s).epsilon(1e-14));
    const bool left = side == preheat::singular_side::left;
    check_below((left ? after.A : after.B).norm(), 0);
    const dense directions = left ? after.B : dense(after.A.transpose());
    check_below((directions.transpose() * directions - dense::Identity(rank, rank)).norm(), 1e-5);
    // What the directions keep of B·A is what its first singular values have.
    const dense product =
        left ? dense(before.B * before.A) : dense((before.B * before.A).transpose());
    const Eigen::VectorXd sigma = Eigen::JacobiSVD<dense>(product).singularValues();
    const double kept = (directions.transpose() * product).squaredNorm() / product.squaredNorm();
    CHECK(std::abs(kept - sigma.head(rank).squaredNorm() / sigma.squaredNorm()) < 1e-5);
  }
  for (const std::string& other : warm.others()) {
    check_same_bytes(start.files(), warm.files(), other);
  }
  CHECK(other_fields(start) == other_fields(warm));
  CHECK(fields(start)["use_rslora"] == fields(warm)["use_rslora"]);
  CHECK(fields(start)["init_lora_weights"] == true);
}

}  // namespace

TEST_CASE("golden adapter: ranks and scales that PEFT chose, patterns and rsLoRA included") {
  for (const char* const name : {"a_plain", "b_patterns", "c_dora"}) {
    check_reading(name);
  }
}

TEST_CASE("golden adapter: merge, plain, with patterns and rsLoRA, DoRA") {
  for (const char* const name : {"a_plain", "b_patterns", "c_dora"}) {
    check_merging(name);
  }
}

TEST_CASE("golden adapter: convert") {
  for (const char* const name : {"pissa", "pissa_rslora", "olora"}) {
    check_conversion(name);
  }
}

TEST_CASE("golden adapter: reduce, as PEFT's svd of one and two, linear, cat") {
  for (const char* const job : {"svd_one", "svd_two", "linear_two", "cat_two"}) {
    check_reduction(job);
  }
}

TEST_CASE("golden adapter: hrp on either side, scales kept under α/r and α/√r") {
  check_hrp("a_plain", preheat::singular_side::right);
  check_hrp("a_plain", preheat::singular_side::left);
  check_hrp("b_patterns", preheat::singular_side::automatic);
}

TEST_CASE("adapter: reduce to the rank there is keeps the product, and a second time the factors") {
  const temporary_directory directory;
  apps::adapter::reduce_options o;
  o.adapters = {golden::path_of("bert/b_patterns/adapter")};
  o.energy = 1;
  o.out = directory / "once";
  apps::adapter::reduce(o);
  const peft::reader before(o.adapters[0]);
  const peft::reader once(o.out);
  CHECK(fields(once)["use_rslora"] == false);
  for (const peft::adapter_layer& l : before.layers()) {
    CAPTURE(l.module);
    const dense expected = factors_of(before, l.module).delta();
    check_below((factors_of(once, l.module).delta() - expected).norm(), 1e-5 * expected.norm());
    CHECK(once.find(l.module)->scaling == 1);
  }
  o.adapters = {o.out};
  o.out = directory / "twice";
  apps::adapter::reduce(o);
  const peft::reader twice(o.out);
  for (const peft::adapter_layer& l : once.layers()) {
    CAPTURE(l.module);
    const factors a = factors_of(once, l.module);
    const factors b = factors_of(twice, l.module);
    REQUIRE(a.A.rows() == b.A.rows());
    check_below((a.delta() - b.delta()).norm(), 1e-5 * a.delta().norm());
  }
}

TEST_CASE(
    "adapter: energy and ratio choose the least rank that keeps them, and PEFT's patterns say it") {
  const temporary_directory directory;
  const fixture file("rank_reduction");
  const dense A = file.matrix("default.A");
  const dense B = file.matrix("default.B");
  write_adapter(directory / "in", A, B, 2);
  const Eigen::VectorXd sigma = Eigen::JacobiSVD<dense>(B * A).singularValues();
  apps::adapter::reduce_options o;
  o.adapters = {directory / "in"};
  for (const double energy : {0.3, 0.9, 0.99}) {
    CAPTURE(energy);
    o.energy = energy;
    o.out = directory / ("energy" + std::to_string(energy));
    apps::adapter::reduce(o);
    const index_t rank = peft::reader(o.out).layers()[0].rank;
    CHECK(sigma.head(rank).squaredNorm() >= energy * sigma.squaredNorm());
    CHECK(sigma.head(rank - 1).squaredNorm() < energy * sigma.squaredNorm());
  }
  o.energy = 0;
  o.ratio = 3;
  o.out = directory / "ratio";
  apps::adapter::reduce(o);
  const index_t rank = peft::reader(o.out).layers()[0].rank;
  CHECK(sigma(rank - 1) * o.ratio >= sigma(0));
  CHECK(sigma(rank) * o.ratio < sigma(0));
}

TEST_CASE("adapter: a layer of B = 0 passes through as zero with orthonormal directions") {
  const temporary_directory directory;
  write_adapter(directory / "in", dense::Random(3, 7), dense::Zero(5, 3), 1);
  apps::adapter::reduce_options r;
  r.adapters = {directory / "in"};
  r.energy = 0.9;
  r.out = directory / "reduced";
  apps::adapter::reduce(r);
  const factors reduced = factors_of(peft::reader(r.out), "layer");
  CHECK(reduced.A.rows() == 1);
  CHECK(reduced.B.norm() == 0);
  apps::adapter::hrp_options h;
  h.adapter = directory / "in";
  h.rank = 2;
  h.out = directory / "start";
  apps::adapter::hrp(h);
  const factors start = factors_of(peft::reader(h.out), "layer");
  check_below((start.A * start.A.transpose() - dense::Identity(2, 2)).norm(), 1e-13);
  CHECK(start.B.norm() == 0);
}

TEST_CASE("adapter: a kohya file is reduced to a kohya file, convolutions and alphas included") {
  const temporary_directory directory;
  safetensors::writer writer;
  writer.metadata("ss_network_dim", "4");
  writer.metadata("ss_title", "kept");
  const auto add = [&](const std::string& name, std::vector<index_t> shape, const dense& rows) {
    const dense t = rows.transpose();  // row-major
    writer.add<double>(name, std::move(shape), std::span(t.data(), std::size_t(t.size())),
                       safetensors::dtype::BF16);
  };
  add("unet_1_conv.lora_down.weight", {4, 2, 3, 3}, dense::Random(4, 18));
  add("unet_1_conv.lora_up.weight", {6, 4, 1, 1}, dense::Random(6, 4));
  writer.add_scalar<float>("unet_1_conv.alpha", 2);
  writer.write(directory / "in.safetensors");
  apps::adapter::reduce_options o;
  o.adapters = {directory / "in.safetensors"};
  o.out = directory / "out.safetensors";
  o.rank = 2;
  apps::adapter::reduce(o);
  const peft::reader before(o.adapters[0]);
  const peft::reader after(o.out);
  const peft::adapter_layer& layer = after.layers().at(0);
  CHECK(after.files().info(layer.A).shape == std::vector<index_t>{2, 2, 3, 3});
  CHECK(after.files().info(layer.B).shape == std::vector<index_t>{6, 2, 1, 1});
  CHECK(after.files().info(layer.A).type == safetensors::dtype::BF16);
  CHECK(layer.scaling == 1);
  CHECK(after.files().metadata().at("ss_network_dim") == "2");
  CHECK(after.files().metadata().at("ss_title") == "kept");
  const dense whole = factors_of(before, "unet_1_conv").delta();
  const dense part = factors_of(after, "unet_1_conv").delta();
  const Eigen::VectorXd sigma = Eigen::JacobiSVD<dense>(whole).singularValues();
  CHECK((whole - part).norm() <= sigma.tail(sigma.size() - 2).norm() + 0.01 * whole.norm());
}

TEST_CASE("adapter: hrp reads the side of the factor that was trained") {
  const temporary_directory directory;
  const dense A = dense::Random(4, 7);
  const dense B = dense::Random(6, 4);
  write_adapter(directory / "initial", A, dense::Zero(6, 4), 1);
  write_adapter(directory / "B", A, B, 1);
  write_adapter(directory / "both", 2 * A, B, 1);
  write_adapter(directory / "frozen_B", A, B, 1);
  write_adapter(directory / "A", 2 * A, B, 1);
  const auto start = [&](const std::string& initial, const std::string& warm) {
    apps::adapter::hrp_options o;
    o.adapter = directory / warm;
    o.initial = directory / initial;
    o.rank = 2;
    o.out = directory / ("start_" + initial + "_" + warm);
    apps::adapter::hrp(o);
    return factors_of(peft::reader(o.out), "layer");
  };
  CHECK(start("initial", "B").A.norm() == 0);     // left
  CHECK(start("initial", "both").B.norm() == 0);  // right
  const factors right = start("frozen_B", "A");
  CHECK(right.B.norm() == 0);
  CHECK_THROWS_AS(start("initial", "initial"), preheat::invalid_argument);
  // The product of the start is subtracted: B·(2A) − B·A has the directions of B·A.
  const dense V = right.A.transpose();
  const Eigen::VectorXd sigma = Eigen::JacobiSVD<dense>(B * A).singularValues();
  CHECK((B * A * V).squaredNorm() == doctest::Approx(sigma.head(2).squaredNorm()).epsilon(1e-12));
}

TEST_CASE("adapter: init takes its product out of the base, and convert brings the change back") {
  const temporary_directory directory;
  const std::string base_path = golden::path_of("bert/a_plain/base");
  const safetensors::tensor_files base(base_path);
  using kind = apps::adapter::init_options::kind;
  for (const kind type : {kind::pissa, kind::milora, kind::olora}) {
    CAPTURE(int(type));
    apps::adapter::init_options o;
    o.type = type;
    o.base = base_path;
    o.targets = ".*\\.(query|value)";
    o.rank = 4;
    o.alpha = 8;
    o.out = directory / ("start" + std::to_string(int(type)));
    o.residual = directory / ("residual" + std::to_string(int(type)) + ".safetensors");
    apps::adapter::init(o);
    const peft::reader start(o.out);
    const safetensors::tensor_files residual(o.residual);
    CHECK(residual.tensors().size() == base.tensors().size());
    CHECK(start.config().init() == "true");
    REQUIRE(!start.layers().empty());
    for (const auto& entry : base.tensors()) {
      const std::string& name = entry.first;
      CAPTURE(name);
      const peft::adapter_layer* const layer = start.find(name.substr(0, name.rfind('.')));
      if (layer == nullptr || !name.ends_with(".weight")) {
        CHECK(std::ranges::equal(residual.info(name).bytes, entry.second.bytes));
        continue;
      }
      CHECK(layer->scaling == 2);
      const dense W = matrix(base, name);
      const dense sum = matrix(residual, name) + factors_of(start, layer->module).delta();
      check_below((sum - W).norm(), 1e-5 * W.norm());
    }
  }
}

TEST_CASE(
    "adapter: inspect tells spectra, effective ranks, and the overlap of an adapter with itself") {
  const temporary_directory directory;
  apps::adapter::inspect_options o;
  o.adapter = golden::path_of("bert/a_plain/adapter");
  o.other = o.adapter;
  o.json = directory / "report.json";
  apps::adapter::inspect(o);
  const peft::reader adapter(o.adapter);
  const nlohmann::json report = nlohmann::json::parse(scratch::read_file(o.json));
  REQUIRE(report.at("layers").size() == adapter.layers().size());
  for (const nlohmann::json& layer : report.at("layers")) {
    const std::string module = layer.at("module");
    CAPTURE(module);
    const dense delta = factors_of(adapter, module).delta();
    const Eigen::VectorXd sigma = Eigen::JacobiSVD<dense>(delta).singularValues();
    const std::vector<double> ours = layer.at("singular_values");
    double effective = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      CHECK(std::abs(ours[i] - sigma(index_t(i))) < 1e-5 * sigma(0));
      const double p = sigma(index_t(i)) / sigma.sum();
      effective -= p > 0 ? p * std::log(p) : 0;
    }
    CHECK(double(layer.at("effective_rank")) == doctest::Approx(std::exp(effective)).epsilon(1e-3));
    CHECK(double(layer.at("overlap_left")) == doctest::Approx(1).epsilon(1e-4));
    CHECK(double(layer.at("overlap_right")) == doctest::Approx(1).epsilon(1e-4));
  }
}
