// Pieces of the reports: an HTML page that holds everything itself, and Markdown.
#pragma once
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace studies::common {

inline std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

inline void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// A drawing to stand inside a page: without the XML declaration, and with names of its own, because
// gnuplot gives the same ones to the parts of every picture.
inline std::string inline_svg(const std::filesystem::path& file, const std::string& prefix) {
  std::ifstream in(file);
  std::string svg{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const std::size_t begin = svg.find("<svg");
  if (begin == std::string::npos) {
    return {};
  }
  svg.erase(0, begin);
  replace_all(svg, "id='", "id='" + prefix);
  replace_all(svg, "id=\"", "id=\"" + prefix);
  replace_all(svg, "href='#", "href='#" + prefix);
  replace_all(svg, "url(#", "url(#" + prefix);
  return svg;
}

inline std::string html_row(const std::vector<std::string>& cells, const std::string& tag,
                            const std::string& title = {}) {
  std::string html = title.empty() ? "<tr>" : fmt::format("<tr title=\"{}\">", escaped(title));
  for (const std::string& cell : cells) {
    html += fmt::format("<{}>{}", tag, escaped(cell));
  }
  return html + "</tr>\n";
}

inline std::string html_list(const std::vector<std::string>& texts) {
  std::string html = "<ul>\n";
  for (const std::string& text : texts) {
    html += fmt::format("<li>{}</li>\n", escaped(text));
  }
  return html + "</ul>\n";
}

inline constexpr const char* style_sheet =
    R"(body{font:16px/1.5 "DejaVu Sans",Verdana,sans-serif;max-width:1150px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}
table{border-collapse:collapse;font-size:.85em}
th,td{padding:.25em .8em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.texts td{text-align:left;white-space:normal}
svg{max-width:100%;height:auto}.note{background:#fff6df;padding:.6em 1em}code{font-size:.9em}
)";

inline std::string markdown_row(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) {
    text += " " + cell + " |";
  }
  return text + "\n";
}

}  // namespace studies::common
