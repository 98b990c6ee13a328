#include "report_document.hpp"

#include "page.hpp"

namespace studies::common {
namespace {

std::string html_table(const document_table& t) {
  std::string html = fmt::format("<h2>{}</h2>\n<table{}>\n{}", escaped(t.title),
                                 t.of_texts ? " class=\"texts\"" : "", html_row(t.heads, "th"));
  for (std::size_t i = 0; i < t.rows.size(); ++i) {
    html += html_row(t.rows[i], "td", t.row_titles.empty() ? "" : t.row_titles[i]);
  }
  return html + "</table>\n";
}

std::string markdown_table(const document_table& t) {
  std::string text = fmt::format("\n## {}\n\n{}", t.title, markdown_row(t.heads));
  text += markdown_row(std::vector<std::string>(t.heads.size(), "---"));
  for (const auto& row : t.rows) {
    text += markdown_row(row);
  }
  return text;
}

std::string page(const report_document& d, const std::filesystem::path& figures,
                 std::span<const apps::console::picture> pictures) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{}</title>\n"
      "<style>{}</style>\n<h1>{}</h1>\n",
      escaped(d.title), style_sheet, escaped(d.heading));
  if (!d.incomplete.empty()) {
    html += fmt::format("<p class=\"note\">{}</p>\n", escaped(d.incomplete));
  }
  html += fmt::format("<p>{}</p>\n", escaped(d.setting));
  for (const document_table& t : d.tables) {
    html += html_table(t);
  }
  html +=
      "<p>* the best rate is the smallest or largest that was tried. A row's title has its source "
      "and settings.</p>\n";
  html += html_list(d.findings);
  for (std::size_t k = 0; k < pictures.size(); ++k) {
    html += inline_svg(figures / (pictures[k].name + ".svg"), fmt::format("f{}-", k));
  }
  for (const document_table& t : d.more_tables) {
    html += html_table(t);
  }
  html += "<h2>Read with care</h2>\n" + html_list(d.caveats);
  return html + fmt::format("<p>{}</p>\n</html>\n", escaped(d.credits));
}

std::string markdown(const report_document& d) {
  std::string text = d.incomplete.empty() ? "" : "**" + d.incomplete + "**\n\n";
  text += d.setting + "\n";
  for (const document_table& t : d.tables) {
    text += markdown_table(t);
  }
  text += "\n\\* the best rate is the smallest or largest that was tried.\n\n";
  for (const std::string& finding : d.findings) {
    text += "- " + finding + "\n";
  }
  for (const document_table& t : d.more_tables) {
    text += markdown_table(t);
  }
  text += "\n## Read with care\n\n";
  for (const std::string& caveat : d.caveats) {
    text += "- " + caveat + "\n";
  }
  return text;
}

}  // namespace

std::string write_report(const std::filesystem::path& directory, const report_document& document,
                         const std::vector<apps::console::picture>& pictures) {
  const std::filesystem::path figures = directory / "figures";
  const std::string drawn = apps::console::draw_pictures(figures, pictures);
  apps::console::write_file(directory / "report.html", page(document, figures, pictures));
  apps::console::write_file(directory / "report.md", markdown(document));
  return fmt::format("report: {}, and as Markdown report.md\n{}",
                     (directory / "report.html").string(), drawn);
}

std::string listed(const std::vector<std::string>& texts) {
  return fmt::format("{}", fmt::join(texts, "; "));
}

std::string with_sign(const estimate& e, int decimals) {
  const std::string text = with_interval(e, decimals);
  return std::isfinite(e.mean) && text[0] != '-' ? "+" + text : text;
}

std::string rate_cell(const summary_row& row) {
  if (row.failed) {
    return "none: diverged";
  }
  return row.rate > 0 ? to_text(row.rate) + (row.at_edge ? "*" : "") : "–";
}

}  // namespace studies::common
