// An adapter of random numbers with the shapes of Llama-7B, so that speed and memory can be measured
// without the model. B·A has a spectrum that falls like 1/i, which is nearer to a trained adapter than
// the flat one of Gaussian factors: column i of B is divided by i.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "commands.hpp"

namespace apps::adapter {
namespace {

struct module_shape {
  const char* name;
  index_t out;
  index_t in;
};

struct model_shape {
  int blocks;
  std::vector<module_shape> modules;
};

// Entries N(0, 0.01²).
matrix<float> gaussian(index_t rows, index_t cols, const preheat::generator& gen) {
  matrix<float> M(rows, cols);
  for (index_t j = 0; j < cols; ++j) {
    for (index_t i = 0; i < rows; ++i) {
      M.data()[i + j * M.ld()] = float(0.01 * gen.normals(std::uint64_t(i + j * rows))[0]);
    }
  }
  return M;
}

model_shape shape_named(const std::string& name) {
  if (name == "llama-7b") {
    constexpr index_t width = 4096;
    constexpr index_t hidden = 11008;
    return {32,
            {{"self_attn.q_proj", width, width},
             {"self_attn.k_proj", width, width},
             {"self_attn.v_proj", width, width},
             {"self_attn.o_proj", width, width},
             {"mlp.gate_proj", hidden, width},
             {"mlp.up_proj", hidden, width},
             {"mlp.down_proj", width, hidden}}};
  }
  if (name == "tiny") {
    return {2, {{"self_attn.q_proj", 64, 48}, {"mlp.down_proj", 48, 96}}};
  }
  throw preheat::invalid_argument("generate: no shape \"" + name + "\"; there are: llama-7b, tiny");
}

}  // namespace

void generate(const generate_options& o) {
  refuse_if(o.rank < 1, fmt::format("generate: --rank is {}; a rank is 1 or more", o.rank));
  check_outputs(o);
  reporter report("generate", o);
  const model_shape shape = shape_named(o.shape);
  peft::adapter_plan plan;
  std::vector<std::string> targets;
  for (int block = 0; block < shape.blocks; ++block) {
    for (const module_shape& m : shape.modules) {
      const std::string module = fmt::format("model.layers.{}.{}", block, m.name);
      constexpr double scaling = 2;
      plan.layers.push_back(peft::new_layer(module, m.out, m.in, o.rank, scaling,
                                            o.stored.value_or(safetensors::dtype::F32)));
      targets.push_back(module);
    }
  }
  plan.config = peft::config::plain("", targets);
  peft::set_ranks(plan);
  if (!o.dry_run) {
    peft::writer writer(o.out, plan);
    for_each_layer(
        o.threads, plan.layers.size(), [&](std::size_t i) { return plan.layers[i].layer.module; },
        [&](std::size_t i) {
          const peft::adapter_layer& l = plan.layers[i].layer;
          const preheat::generator gen = preheat::generator(o.seed).fork(preheat::purpose::user, i);
          const matrix<float> At = gaussian(l.in, l.rank, gen.fork(preheat::purpose::user, 0));
          matrix<float> Bt = gaussian(l.rank, l.out, gen.fork(preheat::purpose::user, 1));
          std::vector<float> fall;
          for (index_t k = 1; k <= l.rank; ++k) {
            fall.push_back(1 / float(k));
          }
          scale_rows<float>(view<const float>(fall.data(), l.rank, 1), Bt);
          writer.write<float>(i, At, Bt);
        });
    writer.commit();
  }
  report.wrote(plan);
  report.finish();
}

}  // namespace apps::adapter
