#include "chat.hpp"

#include <array>

#include <preheat/core/error.hpp>

namespace apps::finetune {
namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  const std::size_t first = text.find_first_not_of(blanks);
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

// The system message that a ChatML template writes by itself: a constant between its marks.
std::string constant_system(std::string_view jinja) {
  constexpr std::string_view begin = "<|im_start|>system\\n";
  constexpr std::string_view end = "<|im_end|>";
  for (std::size_t at = jinja.find(begin); at != std::string_view::npos;
       at = jinja.find(begin, at + 1)) {
    const std::string_view rest = jinja.substr(at + begin.size());
    const std::string_view text = rest.substr(0, rest.find(end));
    if (!text.empty() && text.size() < rest.size() &&
        text.find_first_of("'\"{}\\") == std::string_view::npos) {
      return std::string(text);
    }
  }
  return {};
}

}  // namespace

chat_template recognize_chat_template(std::string_view jinja, const std::string& end_of_text,
                                      const std::string& source) {
  struct refused {
    const char* mark;
    const char* what;
  };
  constexpr std::array<refused, 4> beyond = {{{"<think>", "strips or adds thoughts (<think>)"},
                                              {"Cutting Knowledge Date", "writes the date"},
                                              {"strftime_now", "writes the date"},
                                              {"raise_exception('Conversation", "orders roles"}}};
  const auto fail = [&](const std::string& problem) {
    throw preheat::io_error(source + ": " + problem +
                            "; built in are the forms chatml, llama3 and zephyr: --chat NAME takes "
                            "one of them as it is");
  };
  for (const refused& r : beyond) {
    if (has(jinja, r.mark)) {
      fail(std::string("this chat template does more than its form, it ") + r.what);
    }
  }
  chat_template form;
  form.end_of_text = end_of_text;
  if (has(jinja, "<|im_start|>")) {
    form.form = chat_form::chatml;
    form.default_system = constant_system(jinja);
  } else if (has(jinja, "<|start_header_id|>")) {
    form.form = chat_form::llama3;
  } else if (has(jinja, "<|user|>") && has(jinja, "<|assistant|>")) {
    form.form = chat_form::zephyr;
  } else {
    fail("a chat template without <|im_start|>, <|start_header_id|> or <|user|> is not understood");
  }
  return form;
}

std::vector<chat_piece> write_chat(const chat_template& form, const std::vector<message>& messages,
                                   bool prompt) {
  std::vector<chat_piece> pieces;
  const auto add = [&](const std::string& role, const std::string& content) {
    const bool counts = role == "assistant";
    switch (form.form) {
      case chat_form::chatml:
        pieces.push_back({"<|im_start|>" + role + "\n", false});
        pieces.push_back({content + "<|im_end|>", counts});
        pieces.push_back({"\n", false});
        break;
      case chat_form::llama3:
        pieces.push_back({"<|start_header_id|>" + role + "<|end_header_id|>\n\n", false});
        pieces.push_back({std::string(trimmed(content)) + "<|eot_id|>", counts});
        break;
      case chat_form::zephyr:
        pieces.push_back({"<|" + role + "|>\n", false});
        pieces.push_back({content + form.end_of_text, counts});
        pieces.push_back({"\n", false});
        break;
    }
  };
  if (!form.default_system.empty() && (messages.empty() || messages.front().role != "system")) {
    add("system", form.default_system);
  }
  for (const message& m : messages) {
    add(m.role, m.content);
  }
  if (prompt) {
    const std::string role = "assistant";
    pieces.push_back({form.form == chat_form::chatml ? "<|im_start|>" + role + "\n"
                      : form.form == chat_form::llama3
                          ? "<|start_header_id|>" + role + "<|end_header_id|>\n\n"
                          : "<|" + role + "|>\n",
                      false});
  }
  return pieces;
}

}  // namespace apps::finetune
