// What an adapter's ΔW = s·B·A is like, layer by layer: norm, spectrum, effective rank, the energy that
// ranks 1, 2, 4, … would keep; and how far two adapters' subspaces agree.
//
//   effective rank   exp(−Σ p_i·log p_i), p_i = σ_i/Σσ (Roy and Vetterli, EUSIPCO 2007)
//   overlap          ‖U₁ᵀU₂‖²/k of the first k singular vectors, k the smaller of the two numbers of σ > 0,
//                    and of V (Hu et al., arXiv 2106.09685, section 7.2): 1 for equal subspaces, k/n for
//                    random ones
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "apps/console/gnuplot.hpp"
#include "commands.hpp"
#include "intruders.hpp"
#include "sources.hpp"

namespace apps::adapter {
namespace {

namespace linalg = preheat::linalg;

struct layer_look {
  const peft::adapter_layer* layer = nullptr;
  std::vector<double> sigma;  // of ΔW
  double effective_rank = 0;
  double left = NAN;  // overlap with the other adapter
  double right = NAN;
  layer_intruders intruders{};  // with a base
};

template <class T>
singular_triplets<T> decompose(const peft::reader& a, const peft::adapter_layer& l) {
  const stored_factors<T> f = read_term<T>({&a, &l});
  singular_triplets<T> d = triplets(f, std::min({l.rank, l.out, l.in}), preheat::generator(0));
  multiply<T>(std::abs(l.scaling), d.S);
  return d;
}

std::vector<index_t> shown_ranks(index_t most) {
  std::vector<index_t> ranks;
  for (index_t r = 1; r < most; r *= 2) {
    ranks.push_back(r);
  }
  return ranks;
}

std::string looks_table(const std::vector<layer_look>& looks, bool two) {
  using console::align;
  using console::fixed;
  index_t most = 1;
  for (const layer_look& l : looks) {
    most = std::max(most, l.layer->rank);
  }
  const std::vector<index_t> ranks = shown_ranks(most);
  std::vector<console::column> columns = {
      {"layer", align::left}, {"out×in"}, {"rank"}, {"s"}, {"‖ΔW‖"}, {"σ₁"}, {"effective rank"}};
  if (two) {
    columns.insert(columns.end(), {{"overlap left"}, {"right"}});
  }
  const bool with_base = !looks.front().intruders.similarity.empty();
  if (with_base) {
    columns.insert(columns.end(), {{"intruders"}, {"least cosine"}});
  }
  for (const index_t r : ranks) {
    columns.push_back({(r == 1 ? "energy at 1" : std::to_string(r))});
  }
  console::table t(columns);
  for (const layer_look& l : looks) {
    double square = 0;
    for (const double s : l.sigma) {
      square += s * s;
    }
    std::vector<std::string> row = {l.layer->module,
                                    fmt::format("{}×{}", l.layer->out, l.layer->in),
                                    std::to_string(l.layer->rank),
                                    fmt::format("{:.6g}", l.layer->scaling),
                                    fmt::format("{:.4g}", std::sqrt(square)),
                                    fmt::format("{:.4g}", l.sigma.front()),
                                    fixed(l.effective_rank, 2)};
    if (two) {
      row.push_back(fixed(l.left, 3));
      row.push_back(fixed(l.right, 3));
    }
    if (with_base) {
      const std::vector<double>& all = l.intruders.similarity;
      row.push_back(fmt::format("{} of {}", l.intruders.intruders.size(), all.size()));
      row.push_back(fixed(*std::min_element(all.begin(), all.end()), 3));
    }
    for (const index_t r : ranks) {
      row.push_back(fixed(linalg::retained_energy(l.sigma, r), 3));
    }
    t.add(row);
  }
  return t.to_string();
}

nlohmann::ordered_json looks_json(const std::vector<layer_look>& looks, bool two) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const layer_look& l : looks) {
    nlohmann::ordered_json entry = {{"module", l.layer->module},
                                    {"out", l.layer->out},
                                    {"in", l.layer->in},
                                    {"rank", l.layer->rank},
                                    {"scaling", l.layer->scaling},
                                    {"singular_values", l.sigma},
                                    {"effective_rank", l.effective_rank}};
    for (const index_t r : shown_ranks(l.layer->rank)) {
      entry["retained_energy"][std::to_string(r)] = linalg::retained_energy(l.sigma, r);
    }
    if (two) {
      entry["overlap_left"] = finite_or_null(l.left);
      entry["overlap_right"] = finite_or_null(l.right);
    }
    if (!l.intruders.similarity.empty()) {
      entry["similarity_to_base"] = l.intruders.similarity;
      entry["intruders"] = l.intruders.intruders;
    }
    list.push_back(entry);
  }
  return list;
}

// The number before the layer's type, 3 in "model.layers.3.self_attn.q_proj"; 0 if there is none.
std::size_t layer_number(const std::string& module) {
  const std::size_t before = module.size() - layer_type(module).size();
  std::size_t begin = before > 0 ? before - 1 : 0;
  while (begin > 0 && module[begin - 1] >= '0' && module[begin - 1] <= '9') {
    --begin;
  }
  return before > 0 ? std::size_t(std::atol(module.c_str() + begin)) : 0;
}

// Two panels: σ_i/σ₁ by layer type, mean over its layers; and a map with a row per layer type and a
// column per layer, of effective ranks or, of two adapters, of the overlap on the right.
std::string draw_looks(const std::vector<layer_look>& looks, bool two,
                       const std::filesystem::path& plot) {
  std::map<std::string, std::vector<const layer_look*>> types;
  for (const layer_look& l : looks) {
    types[layer_type(l.layer->module)].push_back(&l);
  }
  const std::string name = plot.stem().string();
  std::string data;
  std::string lines;
  std::size_t index = 0;
  for (const auto& [type, members] : types) {
    std::vector<double> sum;
    for (const layer_look* l : members) {
      sum.resize(std::max(sum.size(), l->sigma.size()));
      for (std::size_t i = 0; i < l->sigma.size() && l->sigma[0] > 0; ++i) {
        sum[i] += l->sigma[i] / l->sigma[0] / double(members.size());
      }
    }
    data += "# " + type + "\n";
    for (std::size_t i = 0; i < sum.size(); ++i) {
      data += fmt::format("{} {}\n", i + 1, console::number(sum[i] > 0 ? sum[i] : NAN));
    }
    data += "\n\n";
    lines += fmt::format("{} \"{}.dat\" index {} using 1:2 with lines linewidth 1.7 title {}",
                         index == 0 ? "  plot" : ", \\\n      ", name, index,
                         console::gnuplot_text(type));
    ++index;
  }
  // The map has every cell, NaN where a type has no such layer: gnuplot asks for a whole grid.
  std::size_t columns = 1;
  for (const layer_look& l : looks) {
    columns = std::max(columns, layer_number(l.layer->module) + 1);
  }
  data += "# row column value\n";
  std::string tics;
  int row = 0;
  for (const auto& [type, members] : types) {
    std::vector<double> cells(columns, NAN);
    for (const layer_look* l : members) {
      cells[layer_number(l->layer->module)] = two ? l->right : l->effective_rank;
    }
    for (std::size_t i = 0; i < columns; ++i) {
      data += fmt::format("{} {} {}\n", row, i, console::number(cells[i]));
    }
    tics += fmt::format("{}{} {}", row == 0 ? "" : ", ", console::gnuplot_text(type), row);
    ++row;
  }
  const std::vector<std::string> panels = {
      console::panel_title("singular values of ΔW, of the first") +
          "  set logscale y\n  set format y \"%g\"\n  set xlabel \"i\" offset 0,0.3\n"
          "  set ylabel \"σ_i/σ_1, mean over layers\"\n  set key bottom left noenhanced\n" +
          lines + "\n",
      console::panel_title(two ? "overlap of the right subspaces" : "effective rank") +
          fmt::format(
              "  unset logscale\n  unset ylabel\n  unset key\n  set xlabel \"layer\" offset 0,0.3\n"
              "  set xtics 0,{}\n  set ytics ({}) noenhanced\n  set xrange [-0.5:{}.5]\n  set "
              "yrange [{}.5:-0.5]\n"
              "  set palette defined (0 \"#440154\", 1 \"#3b528b\", 2 \"#21918c\", 3 \"#5ec962\", "
              "4 \"#fde725\")\n  {}\n  set lmargin at screen 0.66\n"
              "  set rmargin at screen 0.92\n"
              "  plot \"{}.dat\" index {} using 2:1:3 with image notitle\n",
              (columns + 7) / 8, tics, columns - 1, row - 1,
              two ? "set cbrange [0:1]" : "set cbrange [0:*]", name, index)};
  const console::layout layout{
      .width = 1100, .height = std::max(420, 140 + 28 * row), .left = 80, .legend = 0, .panels = 2};
  const console::picture picture{name,
                                 console::script(name, two ? "Two adapters" : "One adapter", layout,
                                                 panels, "preheat-adapter"),
                                 data};
  const std::filesystem::path folder = plot.has_parent_path() ? plot.parent_path() : ".";
  return console::draw_pictures(folder, std::span(&picture, 1));
}

}  // namespace

void inspect(const inspect_options& o) {
  check_outputs(o);
  if (!o.plot.empty() && !o.plot.parent_path().empty()) {
    refuse_if(!std::filesystem::is_directory(o.plot.parent_path()),
              o.plot.string() + ": there is no folder " + o.plot.parent_path().string());
  }
  reporter report("inspect", o);
  std::vector<peft::reader> adapters;
  adapters.reserve(2);
  adapters.emplace_back(o.adapter);
  report.read(adapters[0]);
  const bool two = !o.other.empty();
  if (two) {
    adapters.emplace_back(o.other);
    report.read(adapters[1]);
  }
  std::vector<layer_look> looks;
  for (const peft::adapter_layer& l : adapters[0].layers()) {
    if (!two || adapters[1].find(l.module) != nullptr) {
      layer_look look;
      look.layer = &l;
      looks.push_back(std::move(look));
    }
  }
  refuse_if(looks.empty(), "inspect: the two adapters have no module in common, such as " +
                               adapters[0].layers().front().module + " and " +
                               adapters.back().layers().front().module);
  if (two &&
      (looks.size() < adapters[0].layers().size() || looks.size() < adapters[1].layers().size())) {
    report.line("note", fmt::format("{} modules are in both", looks.size()));
  }
  std::vector<const peft::reader*> all;
  for (const peft::reader& a : adapters) {
    all.push_back(&a);
  }
  std::optional<base_model> base;
  std::optional<intruder_finder> finder;
  if (!o.base.empty()) {
    finder.emplace(base.emplace(o.base), o.intruders, o.seed);
  }
  with_scalar(all, [&]<class T>(std::type_identity<T>) {
    for_each_layer(
        o.threads, looks.size(), [&](std::size_t i) { return looks[i].layer->module; },
        [&](std::size_t i) {
          layer_look& look = looks[i];
          const singular_triplets<T> one = decompose<T>(adapters[0], *look.layer);
          look.sigma = one.sigma();
          if (finder) {
            look.intruders = finder->of(adapters[0], *look.layer);
          }
          look.effective_rank = linalg::effective_rank(look.sigma);
          if (two) {
            const peft::adapter_layer& l = *adapters[1].find(look.layer->module);
            refuse_if(l.out != look.layer->out || l.in != look.layer->in,
                      fmt::format("inspect: module {} is {}×{} in {} and {}×{} in {}", l.module,
                                  look.layer->out, look.layer->in, o.adapter.string(), l.out, l.in,
                                  o.other.string()));
            const singular_triplets<T> other = decompose<T>(adapters[1], l);
            constexpr double epsilon = double(std::numeric_limits<T>::epsilon());
            const index_t k = std::min(linalg::numerical_rank(look.sigma, epsilon),
                                       linalg::numerical_rank(other.sigma(), epsilon));
            if (k > 0) {
              look.left = overlap<T>(one.U, other.U, k);
              look.right = overlap<T>(one.V, other.V, k);
            }
          }
        });
  });
  say("\n" + looks_table(looks, two));
  report.json()["layers"] = looks_json(looks, two);
  if (!o.plot.empty()) {
    report.line("plot", draw_looks(looks, two, o.plot));
  }
  report.finish();
}

}  // namespace apps::adapter
