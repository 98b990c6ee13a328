// Pictures through gnuplot, each as SVG and PNG. The scripts and data stay beside the pictures, so that
// they can be changed by hand:
//
//   cd results/plots && gnuplot accuracy.gp
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "text_table.hpp"

namespace apps::console {

// A text file that is whole or an exception.
inline void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

// A gnuplot string: in single quotes, which are doubled inside.
inline std::string gnuplot_text(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    result += c == '\'' ? std::string("''") : std::string(1, c);
  }
  return result + "'";
}

inline std::string shell_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return result + "'";
}

inline std::string number(double value) {
  return std::isfinite(value) ? to_text(value) : "NaN";
}

// Panels side by side, and the legend at the right in room of its own.
struct layout {
  int width = 0;  // of the SVG, in pixels; the PNG has 1.5 times as many
  int height = 0;
  int left = 0;    // room for the labels of the first panel
  int legend = 0;  // room for the legend; 0: none
  std::size_t panels = 1;
};

// The whole script: the same picture twice. `panels` holds the commands of each panel.
inline std::string script(const std::string& file, const std::string& title, const layout& l,
                          const std::vector<std::string>& panels, const std::string& program) {
  constexpr int top = 78;
  constexpr int bottom = 58;
  constexpr int gap = 48;
  constexpr int right = 18;
  const double inner =
      double(l.width - l.left - l.legend - right - gap * (int(l.panels) - 1)) / double(l.panels);
  std::string body;
  for (std::size_t k = 0; k < panels.size(); ++k) {
    const double from = l.left + double(k) * (inner + gap);
    body += fmt::format("  set lmargin at screen {:.5f}\n  set rmargin at screen {:.5f}\n",
                        from / l.width, (from + inner) / l.width);
    body += panels[k];
    body += "  unset label 1\n";
  }
  return fmt::format(
      R"(# Written by {program}. Draw again with: gnuplot {file}.gp
do for [format in "svg png"] {{
  if (format eq "svg") {{
    set terminal svg size {width},{height} font "DejaVu Sans,13" background rgb "white"
  }} else {{
    set terminal pngcairo size {wide},{high} font "DejaVu Sans,13" fontscale 1.15 linewidth 1.5 pointscale 1.5
  }}
  set output "{file}." . format
  set encoding utf8
  set multiplot
  set label 1 {title} at screen 0.5,{title_y:.5f} center font ",16" noenhanced
  set tmargin at screen {top:.5f}
  set bmargin at screen {bottom:.5f}
  set border 3 linecolor rgb "#444444"
  set tics nomirror
  set grid linecolor rgb "#dddddd" linetype 1 linewidth 0.7
  set key noenhanced
  unset key
{body}  unset multiplot
  unset output
  reset
}}
)",
      fmt::arg("program", program), fmt::arg("file", file), fmt::arg("width", l.width),
      fmt::arg("height", l.height), fmt::arg("wide", l.width * 3 / 2),
      fmt::arg("high", l.height * 3 / 2), fmt::arg("title", gnuplot_text(title)),
      fmt::arg("title_y", 1 - 22.0 / l.height), fmt::arg("top", 1 - double(top) / l.height),
      fmt::arg("bottom", double(bottom) / l.height), fmt::arg("body", body));
}

inline std::string panel_title(const std::string& text) {
  return fmt::format("  set title {} noenhanced font \",13\" offset 0,-0.4\n", gnuplot_text(text));
}

struct picture {
  std::string name;  // of its files
  std::string script;
  std::string data;
};

inline bool have_gnuplot() {
  return std::system("gnuplot --version > /dev/null 2>&1") == 0;
}

// Writes the pictures' scripts and data to `directory` and draws them. Returns what to tell the user,
// where the pictures are or why there are none. Throws std::runtime_error if a file cannot be written.
inline std::string draw_pictures(const std::filesystem::path& directory,
                                 std::span<const picture> pictures) {
  std::filesystem::create_directories(directory);
  for (const picture& p : pictures) {
    write_file(directory / (p.name + ".dat"), p.data);
    write_file(directory / (p.name + ".gp"), p.script);
  }
  if (!have_gnuplot()) {
    return "no pictures: gnuplot is not installed (Debian: gnuplot-nox). Their scripts are in " +
           directory.string();
  }
  std::string names;
  for (const picture& p : pictures) {
    const std::string command = "cd " + shell_quoted(directory.string()) + " && gnuplot " +
                                shell_quoted(p.name + ".gp") + " > gnuplot.log 2>&1";
    if (std::system(command.c_str()) != 0) {
      return fmt::format("gnuplot could not draw {}.gp; it says why in {}", p.name,
                         (directory / "gnuplot.log").string());
    }
    names += (names.empty() ? "" : ",") + p.name;
  }
  return fmt::format("pictures: {}/{{{}}}.{{svg,png}}", directory.string(), names);
}

}  // namespace apps::console
