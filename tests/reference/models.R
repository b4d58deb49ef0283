# The models of make_reference.R: id, data set, formula for lme4, formula for sparselmm where it differs.
# Every model is fitted by REML and by ML unless `reml` says otherwise.
# drop = TRUE leaves out the rows whose number, counted from 0, is 3 modulo 7.
# nlme = list(fixed, random) asks for the second opinion of nlme::lme.

models <- list()
model <- function(id, dataset, lme4, formula = lme4, reml = c(TRUE, FALSE), ...) {
  for (r in reml) {
    key <- paste0(id, if (r) "-reml" else "-ml")
    models[[key]] <<- list(id = key, dataset = dataset, lme4 = lme4, formula = formula, reml = r, ...)
  }
}

model("dyestuff", "Dyestuff", "Yield ~ 1 + (1 | Batch)", nlme = list("Yield ~ 1", list(Batch = ~1)))
model("dyestuff2", "Dyestuff2", "Yield ~ 1 + (1 | Batch)", note = "The batch variance is zero.")
model("rail", "Rail", "travel ~ 1 + (1 | Rail)", nlme = list("travel ~ 1", list(Rail = ~1)))
model("ergostool", "ergoStool", "effort ~ Type + (1 | Subject)", nlme = list("effort ~ Type", list(Subject = ~1)))
model("penicillin", "Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)")
model("penicillin-unbalanced", "Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", reml = TRUE, drop = TRUE)
model("pastes-slash", "Pastes", "strength ~ 1 + (1 | batch/cask)",
      nlme = list("strength ~ 1", list(batch = ~1, cask = ~1)))
model("pastes-colon", "Pastes", "strength ~ 1 + (1 | batch) + (1 | batch:cask)", reml = TRUE)
model("pastes-sample", "Pastes", "strength ~ 1 + (1 | sample) + (1 | batch)", reml = FALSE)
model("pastes-crossed", "Pastes", "strength ~ 1 + (1 | batch) + (1 | cask)", reml = TRUE,
      note = "Wrong for the design on purpose: cask labels are used again in every batch.")
model("pastes-unbalanced", "Pastes", "strength ~ 1 + (1 | batch/cask)", reml = TRUE, drop = TRUE)

model("sleepstudy-intercept", "sleepstudy", "Reaction ~ Days + (1 | Subject)")
model("sleepstudy-slopes", "sleepstudy", "Reaction ~ Days + (Days | Subject)",
      nlme = list("Reaction ~ Days", list(Subject = ~Days)))
model("sleepstudy-double", "sleepstudy", "Reaction ~ Days + (Days || Subject)")
model("sleepstudy-independent", "sleepstudy", "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", reml = TRUE)
model("sleepstudy-slope-only", "sleepstudy", "Reaction ~ Days + (0 + Days | Subject)", reml = TRUE)
model("sleepstudy-mean-only", "sleepstudy", "Reaction ~ 1 + (Days | Subject)", reml = FALSE)
model("sleepstudy-origin", "sleepstudy", "Reaction ~ 0 + Days + (1 | Subject)", reml = TRUE)
model("sleepstudy-quadratic", "sleepstudy", "Reaction ~ Days + I(Days^2) + (Days | Subject)",
      "Reaction ~ Days + I(Days**2) + (Days | Subject)", reml = TRUE)
model("sleepstudy-quadratic-slopes", "sleepstudy", "Reaction ~ Days + I(Days^2) + (Days + I(Days^2) | Subject)",
      "Reaction ~ Days + I(Days**2) + (Days + I(Days**2) | Subject)", reml = FALSE)
model("sleepstudy-factor-days", "sleepstudy", "Reaction ~ factor(Days) + (1 | Subject)",
      "Reaction ~ C(Days) + (1 | Subject)", reml = TRUE)
model("sleepstudy-log", "sleepstudy", "log(Reaction) ~ Days + (Days | Subject)")
model("sleepstudy-unbalanced", "sleepstudy", "Reaction ~ Days + (Days | Subject)", drop = TRUE)
model("sleepstudy-weights", "synthetic:sleepstudy_plus", "Reaction ~ Days + (Days | Subject)", weights = "w")
model("sleepstudy-offset", "synthetic:sleepstudy_plus", "Reaction ~ Days + (1 | Subject)", reml = TRUE, offset = "off")
model("sleepstudy-weights-offset", "synthetic:sleepstudy_plus", "Reaction ~ Days + (Days || Subject)", reml = FALSE,
      weights = "w", offset = "off", drop = TRUE)
model("sleepstudy-large", "synthetic:sleepstudy_plus", "Reaction_large ~ Days + (Days | Subject)",
      note = "Reaction + 1e6: equals sleepstudy-slopes but for the intercept.")
model("sleepstudy-duplicate", "synthetic:sleepstudy_plus", "Reaction ~ Days + hours + (Days | Subject)", reml = TRUE,
      note = "hours = 24 Days: lme4 drops hours.")

model("cake-treatment", "cake", "angle ~ recipe * temperature + (1 | recipe:replicate)")
model("cake-sum-poly", "cake", "angle ~ recipe * temperature + (1 | recipe:replicate)",
      "angle ~ C(recipe, contr.sum) * C(temperature, contr.poly) + (1 | recipe:replicate)", reml = TRUE,
      contrasts = list(recipe = "contr.sum", temperature = "contr.poly"))
model("cake-poly", "cake", "angle ~ recipe + temperature + (1 | recipe:replicate)",
      "angle ~ recipe + C(temperature, contr.poly) + (1 | recipe:replicate)", reml = FALSE,
      contrasts = list(temperature = "contr.poly"))
model("cake-temp", "cake", "angle ~ recipe * temp + (1 | recipe:replicate)")
model("cake-two", "cake", "angle ~ recipe + temp + (1 | replicate) + (1 | recipe:replicate)", reml = TRUE)
model("machines-slopes", "Machines", "score ~ Machine + (Machine | Worker)")
model("machines-cells", "Machines", "score ~ Machine + (0 + Machine | Worker)", reml = TRUE)
model("machines-nested", "Machines", "score ~ Machine + (1 | Worker/Machine)",
      nlme = list("score ~ Machine", list(Worker = ~1, Machine = ~1)))
model("machines-unbalanced", "Machines", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", reml = FALSE,
      drop = TRUE)
model("machines-double", "synthetic:machines_dummies", "score ~ Machine + (0 + mA + mB + mC || Worker)", reml = TRUE,
      note = "The double bar with a factor, its dummies written out.")
model("orthodont", "Orthodont", "distance ~ age * Sex + (age | Subject)",
      nlme = list("distance ~ age * Sex", list(Subject = ~age)))
model("orthodont-centred", "Orthodont", "distance ~ I(age - 11) * Sex + (I(age - 11) | Subject)", reml = TRUE)
model("oats", "Oats", "yield ~ nitro * Variety + (1 | Block/Variety)",
      nlme = list("yield ~ nitro * Variety", list(Block = ~1, Variety = ~1)))
model("pixel", "Pixel", "pixel ~ day + I(day^2) + (day | Dog) + (1 | Dog:Side)",
      "pixel ~ day + I(day**2) + (day | Dog) + (1 | Dog:Side)",
      nlme = list("pixel ~ day + I(day^2)", list(Dog = ~day, Side = ~1)))
model("oxboys", "Oxboys", "height ~ age + I(age^2) + (age + I(age^2) | Subject)",
      "height ~ age + I(age**2) + (age + I(age**2) | Subject)")
model("ham", "ham", paste("Informed.liking ~ Product * Information + (1 | Consumer) + (1 | Consumer:Product)",
                          "+ (1 | Consumer:Information)"), reml = TRUE)
model("ham-slopes", "ham", "Informed.liking ~ Product + Information + Age + (Information | Consumer)", reml = FALSE)
model("carrots", "carrots", "Preference ~ sens1 + sens2 + Homesize + (sens1 + sens2 | Consumer) + (1 | Product)",
      note = "Three rows lack Preference and are left out.")
model("carrots-sweetness", "carrots", "Sweetness ~ Bitter + (1 | Consumer) + (1 | Product)", reml = FALSE)
model("tvbo", "TVbo", paste("Coloursaturation ~ TVset * Picture + (1 | Assessor) + (1 | Assessor:TVset)",
                            "+ (1 | Assessor:Picture)"), reml = TRUE)
model("tvbo-slopes", "TVbo", "Sharpness ~ TVset + Picture + (TVset | Assessor)")
model("tvbo-three-way", "TVbo", "Noise ~ TVset + (1 | Assessor) + (1 | Assessor:TVset:Picture)", reml = FALSE)
model("hsb82", "Hsb82", "mAch ~ meanses * cses + sector * cses + (cses | school)")
model("scotssec", "ScotsSec", "attain ~ verbal + sex + (1 | primary) + (1 | second)")
model("scotssec-slopes", "ScotsSec", "attain ~ verbal * social + sex + (verbal | primary) + (1 | second)", reml = TRUE)
model("chem97", "Chem97", "score ~ gcsescore + gender + age + (1 | school) + (1 | lea)")
model("fhch2010", "fhch2010",
      "log(rt) ~ task * stimulus + frequency + length + (stimulus + frequency | id) + (task | item)", reml = TRUE)
model("insteval", "InstEval", "y ~ service + (1 | s) + (1 | d) + (1 | dept)")
model("insteval-dept", "InstEval", "y ~ service * dept + (1 | s) + (1 | d)", reml = FALSE)
model("insteval-age", "InstEval", "y ~ studage + lectage + service + (1 | s) + (1 | d) + (1 | dept)", reml = TRUE)

model("maximal", "synthetic:crossed_maximal", "y ~ 1 + a + b + (1 + a + b | s) + (1 + a + b | i)")
model("nested", "synthetic:nested3", "y ~ x + arm + (1 | school/class)")
model("nested-slopes", "synthetic:nested3", "y ~ x * arm + (x | school) + (1 | school:class)", reml = TRUE)
model("nested-slopes-both", "synthetic:nested3", "y ~ x + (x | school/class)", reml = FALSE)
model("three-crossed", "synthetic:three_crossed", "y ~ x + cond + (1 | f) + (1 | g) + (1 | h)")
model("three-crossed-weights", "synthetic:three_crossed", "y ~ x * cond + (1 | f) + (1 | g) + (1 | h)", reml = TRUE,
      weights = "w", offset = "off")
model("three-crossed-double", "synthetic:three_crossed", "y ~ x + cond + (x || f) + (1 | g) + (x | h)", reml = FALSE,
      drop = TRUE)
model("many-groups", "synthetic:many_groups", "y ~ x + (x | g)")
model("four-columns", "synthetic:four_columns", "y ~ x1 + x2 + x3 + (x1 + x2 + x3 | g)")
model("rank-one", "synthetic:rank_one", "y ~ x + (x | g)", note = "Correlation one: the covariance has rank one.")
model("sign-trap", "synthetic:sign_trap", "y ~ x + (x | g)",
      note = "lmer with its defaults stops 0.22 (REML) and 0.13 (ML) above this deviance, at theta[1] = 0.")
model("zero-block", "synthetic:zero_block", "y ~ x + (x | g)", note = "The whole 2 x 2 covariance is zero.")
model("empty-cell", "synthetic:empty_cell", "y ~ f * g + (1 | s)", reml = TRUE,
      note = "No rows with f = r and g = d: lme4 drops that column.")
model("units", "synthetic:units", "y ~ time + (1 | g)", reml = TRUE, note = "y near 1e-6, time near 1e8.")
model("units-slopes", "synthetic:units", "y ~ x + (x | g)", note = "y near 1e-6, x with standard deviation 1e6.")
