#include <fmt/format.h>

#include "apps/console/text_table.hpp"
#include "one_run.hpp"

namespace apps::finetune {

std::string card_of(const material& m, const run_choice& run, const run_result& result) {
  const training_options& o = m.o;
  std::string text = fmt::format(
      "---\nbase_model: {}\nlibrary_name: peft\ntags: [lora, preheat]\n---\n# {} on {}\n\n",
      o.model.string(), run.method->name, o.data.filename().string());
  text += fmt::format("A LoRA adapter, trained by `preheat-finetune` {}.\n\n| | |\n|---|---|\n",
                      version_text());
  const auto row = [&](const std::string& what, const std::string& value) {
    text += fmt::format("| {} | {} |\n", what, value);
  };
  row("base model", fmt::format("`{}`", o.model.string()));
  row("method",
      fmt::format("{} (`{}`): {}", run.method->name, run.method->id, run.method->citation));
  row("rank, alpha", fmt::format("{}, {}{}", o.rank, alpha_of(o), o.rslora ? ", rsLoRA" : ""));
  if (run.method->outcome == outcome_kind::product) {
    row("in this folder", "plain LoRA of twice the rank on the original base");
  }
  if (result.outcome.converted) {
    row("converted",
        "PEFT has no adapter of this kind: the folder has the same product as plain LoRA");
  }
  if (const auto& classes = m.model.classes.names; !classes.empty()) {
    std::string numbered;
    for (std::size_t i = 0; i < classes.size(); ++i) {
      numbered += fmt::format("{}{} `{}`", i == 0 ? "" : ", ", i, classes[i]);
    }
    row("classes", numbered);
    row("to load",
        fmt::format("`AutoModelForSequenceClassification.from_pretrained(…, num_labels={})`, then "
                    "`PeftModel.from_pretrained(model, …)`",
                    classes.size()));
  }
  row("learning rate", fmt::format("{}, {}, warmup {}", console::to_text(run.rate), o.schedule,
                                   console::to_text(o.warmup)));
  row("steps", fmt::format("{}, {} of them spent on the start; {} rows a step", m.steps,
                           result.outcome.calibration_steps, o.batch * o.accumulate));
  row("trained numbers", std::to_string(result.outcome.trainable_parameters));
  row("data", fmt::format("`{}`, FNV-1a {:016x}: {}", o.data.string(), m.data_hash, m.data));
  if (!result.outcome.losses.empty()) {
    row("training loss", fmt::format("{:.4f} in the first step, {:.4f} in the last",
                                     result.outcome.losses.front(), result.outcome.losses.back()));
  }
  if (!m.eval.empty()) {
    row("held-out loss",
        fmt::format("{:.4f} before, {:.4f} after (`{}`, FNV-1a {:016x})", m.loss_before,
                    result.eval_loss, o.eval.string(), m.eval_hash));
    if (m.model.net.classifies()) {
      row("held-out accuracy",
          fmt::format("{:.4f} before, {:.4f} after", m.accuracy_before, result.eval_accuracy));
    }
  }
  row("seed", std::to_string(run.seed));
  text += fmt::format("\n```sh\n{}\n```\n", o.command);
  return text;
}

}  // namespace apps::finetune
