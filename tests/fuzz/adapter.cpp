// libFuzzer: any bytes as an adapter. They are a safetensors file, and behind a line with "#config" the text
// of an adapter_config.json. Whatever they are, the reader either refuses them with io_error or
// invalid_argument, or gives layers whose every promise holds.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <preheat/peft/further_tensors.hpp>
#include <preheat/peft/reader.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace peft = preheat::peft;
namespace safetensors = preheat::safetensors;
using preheat::index_t;

namespace {

void promise(bool holds) {
  if (!holds) {
    std::abort();
  }
}

void use_tensors(const safetensors::file_header& header, std::string_view file) {
  const char* const begin = file.data();
  const char* const end = begin + file.size();
  for (const auto& [name, tensor] : header.tensors) {
    const char* const data = reinterpret_cast<const char*>(tensor.bytes.data());
    promise(tensor.bytes.empty() || (begin <= data && data + tensor.bytes.size() <= end));
    promise(tensor.count() * safetensors::size_of(tensor.type) == index_t(tensor.bytes.size()));
    if (safetensors::is_floating(tensor.type) && tensor.count() > 0) {
      std::vector<float> values(std::size_t(tensor.count()));
      safetensors::read_rows<float>(name, tensor, 0,
                                    preheat::view<float>(values.data(), tensor.count(), 1));
    }
    double number = 0;
    safetensors::read_number(tensor, number);
  }
}

void use_layers(const safetensors::file_header& header, const peft::config* config) {
  const safetensors::tensor_map& tensors = header.tensors;
  std::vector<peft::settings_part> settings;
  if (config != nullptr) {
    settings.push_back({"", *config, "config"});
  }
  for (peft::settings_part& part : peft::settings_of_header(header.metadata, "header")) {
    settings.push_back(std::move(part));
  }
  const peft::detail::grouping grouping(tensors, settings, "input", config != nullptr);
  std::vector<peft::module_rank> modules;
  std::vector<std::string> others;
  for (const peft::adapter_layer& l : grouping.layers(others)) {
    const safetensors::tensor_info& A = tensors.find(l.A)->second;
    const safetensors::tensor_info& B = tensors.find(l.B)->second;
    promise(l.rank >= 1 && l.in >= 1 && l.out >= 1);
    promise(A.count() == l.rank * l.in && B.count() == l.rank * l.out);
    promise(safetensors::is_floating(A.type) && safetensors::is_floating(B.type));
    promise(config == nullptr ||
            config->rank(l.module) * std::max<index_t>(1, l.experts) == l.rank);
    promise(std::isfinite(l.scaling));
    if (l.experts == 0) {
      modules.push_back({l.module, l.rank, l.scaling});
    }
  }
  for (const std::string& name : others) {
    promise(tensors.find(name) != tensors.end());
    promise(!peft::understood(name).target.empty());
  }
  if (modules.empty()) {
    return;
  }
  // What a result states can be read, and states it.
  const auto metadata = peft::with_ranks(header.metadata, settings, modules);
  for (const peft::settings_part& part : peft::settings_of_header(metadata, "written")) {
    for (const peft::module_rank& m : modules) {
      const auto name = part.name_inside(m.module);
      const auto first = std::find_if(settings.begin(), settings.end(), [&](const auto& s) {
        return s.name_inside(m.module).has_value();
      });
      if (name && part.has_rank && first->prefix == part.prefix) {
        promise(part.config.rank(*name) == m.rank);
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  constexpr std::string_view separator = "\n#config\n";
  const std::size_t split = input.rfind(separator);
  const std::string_view file = input.substr(0, split);
  try {
    std::optional<peft::config> config;
    if (split != std::string_view::npos) {
      config = peft::config::parse(input.substr(split + separator.size()), "config");
    }
    const safetensors::file_header header =
        safetensors::parse_header(std::as_bytes(std::span(file)), "input");
    use_tensors(header, file);
    use_layers(header, config ? &*config : nullptr);
    if (config) {  // what is written can be read
      config->set_ranks({{"a", 2, 1.5}, {"b.a", 3, 4}});
      promise(peft::config::parse(config->fields().dump(), "again").rank("b.a") == 3);
    }
  } catch (const preheat::io_error&) {
  } catch (const preheat::invalid_argument&) {
  }
  return 0;
}
