// What an adapter's ΔW = s·B·A is like, layer by layer: norm, spectrum, effective rank, the energy that
// ranks 1, 2, 4, … would keep; and how far two adapters' subspaces agree.
//
//   effective rank   exp(−Σ p_i·log p_i), p_i = σ_i/Σσ (Roy and Vetterli, EUSIPCO 2007)
//   overlap          ‖U₁ᵀU₂‖²/k of the first k singular vectors, k the smaller of the two numbers of σ > 0,
//                    and of V (Hu et al., arXiv 2106.09685, section 7.2): 1 for equal subspaces, k/n for
//                    random ones
#include <type_traits>

#include "../console/gnuplot.hpp"
#include "commands.hpp"
#include "sources.hpp"

namespace adapters {
namespace {

struct layer_look {
  const io::peft_layer* layer = nullptr;
  std::vector<double> sigma;  // of ΔW
  double effective_rank = 0;
  double left = NAN;  // overlap with the other adapter
  double right = NAN;
};

double effective_rank(const std::vector<double>& sigma) {
  double sum = 0;
  for (const double s : sigma) {
    sum += s;
  }
  double entropy = 0;
  for (const double s : sigma) {
    const double p = sum > 0 ? s / sum : 0;
    entropy -= p > 0 ? p * std::log(p) : 0;
  }
  return sum > 0 ? std::exp(entropy) : 0;
}

// The part of Σσ² in the first `rank`.
double energy_at(const std::vector<double>& sigma, index_t rank) {
  double kept = 0;
  double all = 0;
  for (std::size_t i = 0; i < sigma.size(); ++i) {
    all += sigma[i] * sigma[i];
    kept += index_t(i) < rank ? sigma[i] * sigma[i] : 0;
  }
  return all > 0 ? kept / all : 1;
}

// Singular values beyond rounding.
index_t live(const std::vector<double>& sigma, double epsilon) {
  index_t count = 0;
  while (count < index_t(sigma.size()) && sigma[std::size_t(count)] > 0 &&
         sigma[std::size_t(count)] > double(sigma.size()) * epsilon * sigma[0]) {
    ++count;
  }
  return count;
}

template <class T>
singular_triplets<T> decompose(const io::peft_adapter& a, const io::peft_layer& l) {
  const stored_factors<T> f = read_term<T>({&a, &l, 1, 1});
  singular_triplets<T> d = triplets(f, std::min({l.rank, l.out, l.in}), preheat::generator(0));
  multiply<T>(std::abs(l.scaling), d.S);
  return d;
}

template <class T>
double overlap(view<const T> a, view<const T> b, index_t k) {
  return k == 0 ? NAN : squared_product<T>(a.col_range(0, k), b.col_range(0, k)) / double(k);
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
    for (const index_t r : ranks) {
      row.push_back(fixed(energy_at(l.sigma, r), 3));
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
      entry["retained_energy"][std::to_string(r)] = energy_at(l.sigma, r);
    }
    if (two) {
      entry["overlap_left"] = finite_or_null(l.left);
      entry["overlap_right"] = finite_or_null(l.right);
    }
    list.push_back(entry);
  }
  return list;
}

// Two panels: σ_i/σ₁ by layer type, mean over its layers; and a map of a row a layer type and a column a
// layer, of effective ranks or, of two adapters, of the overlap on the right.
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
  data += "# row column value\n";
  std::string tics;
  int row = 0;
  std::size_t columns = 1;
  for (const auto& [type, members] : types) {
    for (std::size_t i = 0; i < members.size(); ++i) {
      const double value = two ? members[i]->right : members[i]->effective_rank;
      data += fmt::format("{} {} {}\n", row, i, console::number(value));
    }
    columns = std::max(columns, members.size());
    tics += fmt::format("{}{} {}", row == 0 ? "" : ", ", console::gnuplot_text(type), row);
    ++row;
  }
  const std::vector<std::string> panels = {
      console::panel_title("singular values of ΔW, of the first") +
          "  set logscale y\n  set format y \"%g\"\n  set xlabel \"i\" offset 0,0.3\n"
          "  set ylabel \"σ_i/σ_1, mean over layers\"\n  set key top right noenhanced\n" +
          lines + "\n",
      console::panel_title(two ? "overlap of the right subspaces" : "effective rank") +
          fmt::format(
              "  unset logscale\n  unset ylabel\n  unset key\n  set xlabel \"layer\" offset 0,0.3\n"
              "  set ytics ({}) noenhanced\n  set xrange [-0.5:{}.5]\n  set yrange [{}.5:-0.5]\n"
              "  set palette viridis\n  {}\n  set lmargin at screen 0.66\n"
              "  set rmargin at screen 0.92\n"
              "  plot \"{}.dat\" index {} using 2:1:3 with image notitle\n",
              tics, columns - 1, row - 1, two ? "set cbrange [0:1]" : "set cbrange [0:*]", name,
              index)};
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
  reporter report("inspect", o);
  std::vector<io::peft_adapter> adapters;
  adapters.reserve(2);
  adapters.emplace_back(o.adapter);
  report.read(adapters[0]);
  const bool two = !o.other.empty();
  if (two) {
    adapters.emplace_back(o.other);
    report.read(adapters[1]);
  }
  std::vector<layer_look> looks;
  for (const io::peft_layer& l : adapters[0].layers()) {
    if (!two || adapters[1].find(l.module) != nullptr) {
      layer_look look;
      look.layer = &l;
      looks.push_back(std::move(look));
    }
  }
  preheat::require(!looks.empty(), "inspect: the two adapters have a module in common");
  if (two &&
      (looks.size() < adapters[0].layers().size() || looks.size() < adapters[1].layers().size())) {
    report.line("note", fmt::format("{} modules are in both", looks.size()));
  }
  std::vector<const io::peft_adapter*> all;
  for (const io::peft_adapter& a : adapters) {
    all.push_back(&a);
  }
  with_scalar(all, [&]<class T>(std::type_identity<T>) {
    for_each_layer(
        o.threads, looks.size(), [&](std::size_t i) { return looks[i].layer->module; },
        [&](std::size_t i) {
          layer_look& look = looks[i];
          const singular_triplets<T> one = decompose<T>(adapters[0], *look.layer);
          look.sigma = one.sigma();
          look.effective_rank = effective_rank(look.sigma);
          if (two) {
            const io::peft_layer& l = *adapters[1].find(look.layer->module);
            preheat::require(
                l.out == look.layer->out && l.in == look.layer->in,
                "inspect: module " + l.module + " has the same shape in both adapters");
            const singular_triplets<T> other = decompose<T>(adapters[1], l);
            constexpr double epsilon = double(std::numeric_limits<T>::epsilon());
            const index_t k = std::min(live(look.sigma, epsilon), live(other.sigma(), epsilon));
            look.left = overlap<T>(one.U, other.U, k);
            look.right = overlap<T>(one.V, other.V, k);
          }
        });
  });
  fmt::print("\n{}", looks_table(looks, two));
  report.json()["layers"] = looks_json(looks, two);
  if (!o.plot.empty()) {
    report.line("plot", draw_looks(looks, two, o.plot));
  }
  report.finish();
}

}  // namespace adapters
