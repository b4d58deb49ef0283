# Tests of terms and comparisons of models by lmerTest, lme4, car and RLRsim; writes comparison.json.
#
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/comparison.R

suppressPackageStartupMessages({
  library(lmerTest)
  library(jsonlite)
})
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
folder <- file.path(here, "..", "..", "sparselmm", "datasets", "data")
sets <- fromJSON(file.path(folder, "datasets.json"), simplifyDataFrame = FALSE)

read_set <- function(name, rows = NULL) {
  frame <- read.csv(file.path(folder, paste0(name, ".csv.gz")), colClasses = "character", na.strings = "", check.names = FALSE)
  for (column in names(frame)) {
    entry <- sets[[name]]$columns[[column]]
    frame[[column]] <- if (is.null(entry$levels)) type.convert(frame[[column]], as.is = TRUE)
                       else factor(frame[[column]], entry$levels)
  }
  names(frame) <- sub("Informed.liking", "y", names(frame), fixed = TRUE)
  if (is.null(rows)) return(frame)
  droplevels(frame[switch(rows, sevenths = seq_len(nrow(frame)) %% 7 != 4,
                          departments = frame$dept %in% levels(frame$dept)[1:5],
                          cells = !(frame$Product == "2" & frame$Gender == "1") &
                            !(frame$Product == "3" & frame$Information == "2")), ])
}

# lmerTest looks the data up by name: they are in the global variable `set`.
set <- NULL
fitted_model <- function(formula, data, contrasts = NULL, weights = NULL, reml = TRUE) {
  set <<- data
  settings <- list(calc.derivs = TRUE, check.nobs.vs.nRE = "ignore", check.conv.grad = "ignore")
  arguments <- list(as.formula(formula), data = quote(set), control = do.call(lmerControl, settings),
                    contrasts = contrasts, REML = reml)
  if (!is.null(weights)) arguments$weights <- as.name(weights)
  fit <- do.call(lmerTest::lmer, arguments)
  settings <- c(settings, optimizer = "bobyqa", optCtrl = list(list(rhobeg = 0.01, rhoend = 1e-9, maxfun = 1e5)))
  arguments$control <- do.call(lmerControl, settings)
  for (i in 1:2) {
    arguments$start <- getME(fit, "theta")
    fit <- do.call(lmerTest::lmer, arguments)
  }
  fit@call$control <- do.call(lmerControl, settings[names(settings) != "optCtrl"])
  fit@call$start <- NULL  # smaller models are made of the call
  fit
}

tests <- function(table) {
  table <- as.data.frame(table)
  list(term = rownames(table), sum_sq = table$`Sum Sq`, df_num = table$NumDF, df_denom = table$DenDF,
       F = table$`F value`, p = table$`Pr(>F)`)
}

terms_of <- function(id, data, formula, rows = NULL, contrasts = NULL, ours = formula, weights = NULL, kr = FALSE,
                     types = 1:3) {
  message(id)
  set <<- read_set(data, rows)
  if (!is.null(weights)) set[[weights]] <<- 0.5 + (seq_len(nrow(set)) * 7) %% 11 / 5
  fit <- fitted_model(formula, set, contrasts, weights)
  methods <- c("Satterthwaite", if (kr) "Kenward-Roger")
  anovas <- lapply(setNames(methods, methods), function(ddf)
    setNames(lapply(types, function(t) tests(anova(fit, type = t, ddf = ddf))), types))
  single <- tests(drop1(fit))
  ml <- as.data.frame(drop1(fit, ddf = "lme4", test = "Chisq"))
  list(id = id, data = data, rows = rows, formula = ours, weights = weights, anova = anovas, drop1 = single,
       drop1_lrt = list(term = rownames(ml), aic = ml$AIC, chisq = ml$LRT, p = ml$`Pr(Chi)`, df = ml$npar))
}

random_of <- function(id, data, formula, rows = NULL, reml = TRUE, whole = TRUE, ours = formula) {
  message(id)
  fit <- fitted_model(formula, read_set(data, rows), reml = reml)
  table <- function(reduce) {
    x <- as.data.frame(suppressWarnings(ranova(fit, reduce.terms = reduce)))
    list(term = rownames(x), npar = x$npar, loglik = x$logLik, aic = x$AIC, chisq = x$LRT, df = x$Df, p = x$`Pr(>Chisq)`)
  }
  list(id = id, data = data, rows = rows, formula = ours, reml = reml, reduced = table(TRUE), whole = if (whole) table(FALSE))
}

compared <- function(id, data, formulas, refit, ours = formulas) {
  message(id)
  set <<- read_set(data)
  fits <- lapply(formulas, fitted_model, set, reml = !refit)
  table <- as.data.frame(do.call(anova, c(fits, list(refit = FALSE))))
  list(id = id, data = data, formulas = ours, reml = !refit, npar = table$npar, aic = table$AIC, bic = table$BIC,
       loglik = table$logLik, chisq = table$Chisq, df = table$Df, p = table$`Pr(>Chisq)`)
}

exact <- function(id, data, full, only = NULL, null = NULL, reml = TRUE) {
  message(id)
  set <<- read_set(data)
  m <- fitted_model(if (is.null(only)) full else only, set, reml = reml)
  set.seed(1)
  if (reml) {
    test <- if (is.null(only)) RLRsim::exactRLRT(m, nsim = 1e5)
            else RLRsim::exactRLRT(m, fitted_model(full, set), fitted_model(null, set), nsim = 1e5)
  } else {
    test <- RLRsim::exactLRT(m, lm(lme4::nobars(as.formula(full)), set), nsim = 1e5)
  }
  levels <- c(0.5, 0.75, 0.9, 0.95, 0.99)
  list(id = id, data = data, formula = full, reml = reml, statistic = unname(test$statistic), p = test$p,
       zero = mean(test$sample < 1e-8), levels = levels, quantiles = unname(quantile(test$sample, levels)))
}

sum_coded <- function(...) setNames(rep(list("contr.sum"), ...length()), c(...))

result <- list(
  versions = lapply(sapply(c("lme4", "lmerTest", "pbkrtest", "RLRsim", "car"),
                           function(p) as.character(packageVersion(p)), simplify = FALSE), unbox),
  terms = list(
    terms_of("sleepstudy slopes", "sleepstudy", "Reaction ~ Days + (Days | Subject)", kr = TRUE),
    terms_of("cake", "cake", "angle ~ recipe * temperature + (1 | recipe:replicate)", kr = TRUE),
    terms_of("cake unbalanced", "cake", "angle ~ recipe * temperature + (1 | recipe:replicate)", "sevenths", kr = TRUE),
    terms_of("cake unbalanced, sum contrasts", "cake", "angle ~ recipe * temperature + (1 | recipe:replicate)", "sevenths",
             sum_coded("recipe", "temperature"),
             "angle ~ C(recipe, contr.sum) * C(temperature, contr.sum) + (1 | recipe:replicate)"),
    terms_of("cake slopes, sum and Helmert contrasts", "cake", "angle ~ recipe * temperature + (temp | recipe:replicate)",
             "sevenths", list(recipe = "contr.sum", temperature = "contr.helmert"),
             "angle ~ C(recipe, contr.sum) * C(temperature, contr.helmert) + (temp | recipe:replicate)"),
    terms_of("cake factor x covariate", "cake", "angle ~ recipe * temp + (1 | recipe:replicate)", "sevenths"),
    terms_of("Oats", "Oats", "yield ~ Variety * nitro + (1 | Block/Variety)", kr = TRUE),
    terms_of("Machines", "Machines", "score ~ Machine + (0 + Machine | Worker)", kr = TRUE),
    terms_of("ham crossed", "ham", "y ~ Product * Gender + Information + Age + (1 | Consumer) + (1 | Consumer:Product)"),
    terms_of("ham factors x numeric", "ham", "y ~ Age * Product * Gender + Information + (1 | Consumer)", "sevenths"),
    terms_of("ham polynomial", "ham", "y ~ poly(Age, 2) * Product + (1 | Consumer)", "sevenths", types = c(1, 3)),
    terms_of("ham nested fixed", "ham", "y ~ Product / Gender + (1 | Consumer)", "sevenths", types = 1),
    terms_of("ham weights", "ham", "y ~ Age * Product + Gender * Product + (1 | Consumer)", "sevenths", weights = "w"),
    terms_of("ham dropped columns", "ham", "y ~ Product * Gender * Information + (1 | Consumer)", "cells"),
    terms_of("ham no intercept", "ham", "y ~ 0 + Product * Gender + (1 | Consumer)", "sevenths", types = 1:2),
    terms_of("ham no intercept, slopes", "ham", "y ~ 0 + Age + Product:Gender + Product:Age + (1 | Consumer)", "sevenths"),
    terms_of("ham no intercept, same space", "ham", "y ~ 0 + Age + Product + Product:Age + (1 | Consumer)", "sevenths"),
    terms_of("InstEval, 5 departments", "InstEval", "y ~ service * studage + (1 | s) + (1 | d)", "departments")),
  random = list(
    random_of("sleepstudy slopes", "sleepstudy", "Reaction ~ Days + (Days | Subject)"),
    random_of("sleepstudy slopes, ML", "sleepstudy", "Reaction ~ Days + (Days | Subject)", reml = FALSE),
    random_of("sleepstudy quadratic", "sleepstudy", "Reaction ~ Days + (Days + I(Days^2) | Subject)"),
    random_of("Machines", "Machines", "score ~ Machine + (0 + Machine | Worker)", whole = FALSE),
    random_of("Machines intercept", "Machines", "score ~ Machine + (Machine | Worker)"),
    random_of("Machines nested", "Machines", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)"),
    random_of("Dyestuff2", "Dyestuff2", "Yield ~ 1 + (1 | Batch)"),
    random_of("InstEval, 5 departments", "InstEval", "y ~ service + (1 | s) + (1 | d)", "departments")),
  compare = list(
    compared("sleepstudy random, REML", "sleepstudy", c("Reaction ~ Days + (1 | Subject)",
      "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", "Reaction ~ Days + (Days | Subject)"), FALSE),
    compared("sleepstudy fixed, ML", "sleepstudy", c("Reaction ~ 1 + (Days | Subject)", "Reaction ~ Days + (Days | Subject)",
      "Reaction ~ Days + I(Days^2) + (Days | Subject)"), TRUE),
    compared("Machines", "Machines", c("score ~ Machine + (1 | Worker)", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)",
      "score ~ Machine + (0 + Machine | Worker)"), FALSE)),
  exact = list(
    exact("Dyestuff", "Dyestuff", "Yield ~ 1 + (1 | Batch)"),
    exact("Dyestuff, ML", "Dyestuff", "Yield ~ 1 + (1 | Batch)", reml = FALSE),
    exact("Pastes, two terms", "Pastes", "strength ~ 1 + (1 | batch) + (1 | sample)", "strength ~ 1 + (1 | batch)",
          "strength ~ 1 + (1 | sample)"),
    exact("Machines, two terms", "Machines", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)",
          "score ~ Machine + (1 | Worker)", "score ~ Machine + (1 | Worker:Machine)"),
    exact("sleepstudy", "sleepstudy", "Reaction ~ Days + (1 | Subject)")),
  car = local({
    set <<- read_set("ham", "sevenths")
    fit <- fitted_model("y ~ 0 + Product * Gender + (1 | Consumer)", set, sum_coded("Product", "Gender"))
    table <- car::Anova(fit, type = 3, test.statistic = "F")
    list(term = rownames(table), F = table$F, df_denom = table$Df.res)
  }))
write(toJSON(result, digits = NA, auto_unbox = TRUE, na = "null", null = "null"), file.path(here, "comparison.json"))
