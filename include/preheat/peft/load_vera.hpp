// A VeRA folder of PEFT on a network (peft/vera_names.hpp has its form), as a run of fit would have left
// it: the inverse of peft::save for adapter::vera.
//
//   auto report = peft::load<adapter::vera>("adapter", net);
//
// Modules and a trained head are found as by peft::load of LoRA. All layers of the report share the
// folder's one pair.
//
// Errors: io_error, naming the folder and the field, module or tensor: no adapter_config.json, another
// peft_type, a folder without its pair (save_projection=False: PEFT would draw it from PyTorch's generator),
// shapes that do not fit r, the pair or the network's layer, half of a layer's vectors, a module that the
// network lacks or that another module is too, a tensor that has no place; invalid_argument for a NaN or
// infinite entry. The network is then as it was. Cost: a pass over the file.
#pragma once
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../adapter/vera.hpp"
#include "../files/strict_json.hpp"
#include "../files/text_file.hpp"
#include "../train/report.hpp"
#include "saved_head.hpp"
#include "vera_names.hpp"

namespace preheat::peft {

namespace detail {

// The folder's config and the names of its tensors, checked against each other but not against a network.
class vera_folder {
 public:
  explicit vera_folder(const std::filesystem::path& path)
      : path_(path), config_(read_config(path)), files_(path, "adapter_model") {
    const auto r = config_.find("r");
    check(r != config_.end() && r->is_number_integer() && *r >= 1 && *r <= most_ranks,
          "r is an integer from 1 to 1000000");
    rank_ = r->get<index_t>();
    find_modules();
    check(files_.contains(vera_A) && files_.contains(vera_B),
          "the pair " + files::in_quotes(vera_A) + " and " + files::in_quotes(vera_B) +
              " is missing; save the adapter with save_projection=True");
    const std::vector<index_t>& a = files_.info(vera_A).shape;
    const std::vector<index_t>& b = files_.info(vera_B).shape;
    check(a.size() == 2 && b.size() == 2 && a[0] == rank_ && b[1] == rank_,
          "the pair is " + safetensors::shape_text(a) + " and " + safetensors::shape_text(b) +
              "; with r = " + std::to_string(rank_) + " it is [r, in] and [out, r]");
    largest_ = {b[0], a[1]};
  }

  void check(bool holds, const std::string& problem) const {
    if (!holds) {
      throw io_error(path_.string() + ": " + problem);
    }
  }
  // Checks a module's two vectors against the size of its layer.
  void check_layer(const std::string& module, layer_shape layer) const {
    const auto check_vector = [&](std::string_view which, index_t size) {
      const std::vector<index_t>& shape = files_.info(vera_tensor(module, which)).shape;
      check(shape == std::vector<index_t>{size},
            "module " + files::in_quotes(module) + ": " + std::string(which.substr(1)) + " has " +
                std::to_string(size) + " entries, not " + safetensors::shape_text(shape));
    };
    check_vector(lambda_d, rank_);
    check_vector(lambda_b, layer.out);
    check(layer.out <= largest_.out && layer.in <= largest_.in,
          "module " + files::in_quotes(module) + " is " + std::to_string(layer.out) + "×" +
              std::to_string(layer.in) + " in the network, larger than the pair's " +
              std::to_string(largest_.out) + "×" + std::to_string(largest_.in));
  }

  index_t rank() const { return rank_; }
  layer_shape largest() const { return largest_; }
  const nlohmann::ordered_json& config() const { return config_; }
  const safetensors::tensor_files& files() const { return files_; }
  const std::set<std::string>& modules() const { return modules_; }
  // The names of the tensors that belong to no module.
  const std::vector<std::string>& others() const { return others_; }

 private:
  static constexpr index_t most_ranks = 1'000'000;

  static nlohmann::ordered_json read_config(const std::filesystem::path& path) {
    constexpr std::size_t longest = 100'000'000;
    constexpr std::size_t deepest = 16;
    const std::filesystem::path file = path / "adapter_config.json";
    if (!std::filesystem::exists(file)) {
      throw io_error(path.string() +
                     ": it has no adapter_config.json, so it is no PEFT adapter's folder");
    }
    auto config = files::parse_strict_json<nlohmann::ordered_json>(
        files::read_text_file(file, longest), file.string(), deepest);
    const auto type = config.is_object() ? config.find("peft_type") : config.end();
    if (type == config.end() || *type != vera_type) {
      throw io_error(file.string() + ": peft_type is " +
                     (type == config.end() ? "absent" : files::in_quotes(type->dump())) +
                     ", and VERA is expected; read LoRA as adapter::lora");
    }
    return config;
  }
  void find_modules() {
    std::map<std::string, int> vectors;
    for (const auto& entry : files_.tensors()) {
      const std::string_view name = entry.first;
      if (name == vera_A || name == vera_B) {
        continue;
      }
      if (name.starts_with(module_prefix) &&
          (name.ends_with(lambda_d) || name.ends_with(lambda_b))) {
        ++vectors[std::string(name.substr(module_prefix.size(),
                                          name.size() - module_prefix.size() - lambda_d.size()))];
      } else {
        others_.emplace_back(name);
      }
    }
    for (const auto& [module, count] : vectors) {
      check(count == 2, "module " + files::in_quotes(module) +
                            ": vera_lambda_d and vera_lambda_b come together");
      modules_.insert(module);
    }
    check(!modules_.empty(), "it has no vera_lambda_d and vera_lambda_b, so it is not VeRA");
  }

  std::filesystem::path path_;
  nlohmann::ordered_json config_;
  safetensors::tensor_files files_;
  std::set<std::string> modules_;
  std::vector<std::string> others_;
  index_t rank_ = 0;
  layer_shape largest_;
};

// The config's d_initial, or PEFT's default.
inline double start_of_lambda_d(const vera_folder& folder) {
  const auto value = folder.config().find("d_initial");
  if (value == folder.config().end() || value->is_null()) {
    return adapter::vera{}.d_initial;
  }
  folder.check(value->is_number(), "d_initial is a number, not " + files::in_quotes(value->dump()));
  return value->get<double>();
}

}  // namespace detail

template <std::same_as<adapter::vera> Adapter, network Net>
fit_report<typename Net::backend_type, Adapter> load(const std::filesystem::path& path, Net& net) {
  using Be = typename Net::backend_type;
  Be& be = net.backend();
  const detail::vera_folder folder(path);
  const auto read = [&](const std::string& name, index_t rows, index_t cols) {
    return detail::read_matrix(be, folder.files(), name, rows, cols);
  };
  std::map<index_t, std::string> module_of_layer;
  for (const std::string& module : folder.modules()) {
    const std::string quoted = "module " + files::in_quotes(module) + ": ";
    const index_t l = detail::layer_of_module(net, module);
    folder.check(l >= 0, quoted + "the network has no such layer");
    folder.check(module_of_layer.emplace(l, module).second,
                 quoted + "another module is the same layer of the network");
    folder.check_layer(module, {net.layers()[l].W.rows(), net.layers()[l].W.cols()});
  }
  fit_report<Be, Adapter> report;
  report.adapter.d_initial = detail::start_of_lambda_d(folder);
  const index_t r = folder.rank();
  const auto pair = std::make_shared<const adapter::vera::shared<Be>>(
      adapter::vera::shared<Be>{read(std::string(detail::vera_A), r, folder.largest().in),
                                read(std::string(detail::vera_B), folder.largest().out, r)});
  for (const auto& [l, module] : module_of_layer) {
    const auto& layer = net.layers()[l];
    report.layers.push_back(
        {.index = l,
         .name = layer.name,
         .rank = r,
         .attached = true,
         .parameters = {read(detail::vera_tensor(module, detail::lambda_d), r, 1),
                        read(detail::vera_tensor(module, detail::lambda_b), layer.W.rows(), 1),
                        pair}});
    report.trainable_parameters += trained_size(report.layers.back().parameters);
  }
  report.head_parameters = detail::load_head(
      net, folder.files(), detail::modules_to_save(folder.config()), folder.others());
  return report;
}

}  // namespace preheat::peft
