// Conversations as texts, in the three forms of templates that most models have:
//
//   chatml    <|im_start|>role↵ content <|im_end|>↵                                        SmolLM2, Qwen 2
//   llama3    <|start_header_id|>role<|end_header_id|>↵↵ content <|eot_id|>                 Llama 3
//   zephyr    <|role|>↵ content end-of-text↵                                                Zephyr, StableLM
//
// A model's own template is recognized by its marks and by nothing it does besides: one that strips
// thoughts, calls tools by itself or writes the date is refused unless the form is named.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace apps::finetune {

enum class chat_form { chatml, llama3, zephyr };

struct chat_template {
  chat_form form = chat_form::chatml;
  std::string end_of_text;  // what Zephyr's turns end with
  std::string
      default_system;  // written first in a conversation without a system message; empty: none
};

struct message {
  std::string role;  // system, user, assistant
  std::string content;
};

// A piece of a conversation's text; what an assistant says counts in the loss.
struct chat_piece {
  std::string text;
  bool counts = false;
};

// The form that a Jinja template has. `source` names the template in errors. Errors: io_error, naming what
// is not understood and the forms there are.
chat_template recognize_chat_template(std::string_view jinja, const std::string& end_of_text,
                                      const std::string& source);

// The pieces of a conversation. With `prompt` the beginning of an answer follows.
std::vector<chat_piece> write_chat(const chat_template& form, const std::vector<message>& messages,
                                   bool prompt = false);

}  // namespace apps::finetune
