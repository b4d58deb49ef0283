# Marginal means, contrasts, trends and joint tests by emmeans; writes emmeans.json.
#
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/emmeans.R
#
# Reads the data sets of sparselmm.datasets. Needs lme4, lmerTest, pbkrtest, emmeans, mvtnorm, numDeriv and jsonlite.
# Each model is polished by Newton steps on numDeriv's derivatives. `rows` has a table per call, whose columns are
# estimate, SE, df, lower, upper, t, p. The Python calls are in tests/test_emmeans.py under the same names.

suppressPackageStartupMessages({
  library(lme4)
  library(emmeans)
})
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)
emm_options(msg.interaction = FALSE)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
folder <- file.path(here, "..", "..", "sparselmm", "datasets", "data")
sets <- jsonlite::fromJSON(file.path(folder, "datasets.json"), simplifyDataFrame = FALSE)

read_set <- function(name, modulus = 0, remainder = 0) {
  frame <- read.csv(file.path(folder, paste0(name, ".csv.gz")), colClasses = "character", na.strings = "")
  for (column in names(frame)) {
    entry <- sets[[name]]$columns[[column]]
    frame[[column]] <- if (is.null(entry$levels)) type.convert(frame[[column]], as.is = TRUE)
                       else factor(frame[[column]], entry$levels)
  }
  if (modulus > 0) frame[(seq_len(nrow(frame)) - 1) %% modulus == remainder, ] else frame
}

polished <- function(formula, data, reml = TRUE, weights = NULL) {
  lmm <- function(...) do.call(lmer, c(list(formula, data, REML = reml, ...), if (!is.null(weights)) list(weights = data[[weights]])))
  theta <- getME(lmm(control = lmerControl(calc.derivs = FALSE)), "theta")
  d <- lmm(devFunOnly = TRUE)
  for (i in 1:4) theta <- theta - solve(numDeriv::hessian(d, theta), numDeriv::grad(d, theta))
  lmm(start = theta, control = lmerControl(optimizer = NULL, calc.derivs = FALSE))
}

numbers <- function(x, ...) {
  s <- as.data.frame(summary(x, infer = c(TRUE, TRUE), ...))
  statistic <- intersect(c("t.ratio", "z.ratio"), names(s))
  limits <- intersect(c("lower.CL", "asymp.LCL", "upper.CL", "asymp.UCL"), names(s))
  if (length(limits) == 0) limits <- c(NA, NA)
  value <- names(s)[which(names(s) == "SE") - 1]
  out <- cbind(s[[value]], s$SE, s$df, s[[limits[1]]], s[[limits[2]]], s[[statistic]], s$p.value)
  unname(out)
}
tests <- function(x) list(term = x[["model term"]], values = unname(as.matrix(as.data.frame(x)[c("df1", "df2", "F.ratio", "p.value")])))

cake <- read_set("cake")
uneven <- cake[(seq_len(270) - 1) %% 7 != 3, ]
uneven <- uneven[!(uneven$recipe == "B" & uneven$temp > 200 & as.integer(uneven$replicate) <= 9), ]
holes <- cake[!(cake$recipe == "B" & cake$temperature %in% c("185", "205")), ]
ham <- read_set("ham")
ham$bin <- as.integer(ham$Age > 40)
words <- read_set("fhch2010", 13, 0)
sleepstudy <- read_set("sleepstudy")
sleepstudy$half <- 1 + sleepstudy$Days %% 3

models <- list(
  cake = polished(angle ~ recipe * temperature + (1 | recipe:replicate), cake),
  cake_temp = polished(angle ~ recipe * temp + (1 | recipe:replicate), cake),
  oats = polished(yield ~ factor(nitro) * Variety + (1 | Block/Variety), read_set("Oats")),
  machines = polished(score ~ Machine + (Machine | Worker), read_set("Machines")),
  ham = polished(Informed.liking ~ Gender + Information * Product + Age + (1 | Consumer) + (1 | Consumer:Product), ham),
  ham_ml = polished(Informed.liking ~ Gender * bin + Product + Age + (1 | Consumer), ham, reml = FALSE),
  uneven = polished(angle ~ recipe + temperature + (1 | recipe:replicate), uneven),
  uneven_full = polished(angle ~ recipe * temperature + (1 | recipe:replicate), uneven),
  holes = polished(angle ~ recipe * temperature + (1 | recipe:replicate), holes),
  log_sleep = polished(log(Reaction) ~ Days + (Days | Subject), sleepstudy),
  sqrt_sleep = polished(sqrt(Reaction) ~ Days + (1 | Subject), sleepstudy),
  log10_sleep = polished(log10(Reaction) ~ Days + (1 | Subject), sleepstudy),
  offset_sleep = polished(Reaction ~ factor(half) + offset(2 * Days) + (1 | Subject), sleepstudy),
  weighted_sleep = polished(Reaction ~ factor(half) * Days + (1 | Subject), sleepstudy, weights = "half"),
  words = polished(rt ~ task * stimulus * frequency + length + (1 | id) + (1 | item), words),
  cubic = polished(angle ~ recipe * poly(temp, 3) + (1 | recipe:replicate), cake),
  square = polished(angle ~ recipe * temp + I(temp^2) + (1 | recipe:replicate), cake),
  spline = polished(angle ~ recipe + splines::bs(temp, df = 5) + (1 | recipe:replicate), cake)
)

cells <- function(m, ...) emmeans(m$cake, ~ recipe | temperature, ...)
calls <- function(m) {
  full <- emmeans(m$uneven_full, ~ recipe | temperature)
  t3 <- list(temp = c(180, 200, 215))
  d3 <- list(Days = c(0, 3, 9))
  adjusts <- c("tukey", "holm", "none", "bonferroni", "sidak", "scheffe", "fdr", "BY", "hochberg", "hommel", "dunnettx")
  out <- list(
    cake_recipe = numbers(emmeans(m$cake, "recipe")),
    cake_cells = numbers(emmeans(m$cake, ~ recipe * temperature)),
    cake_pairs = numbers(pairs(cells(m))),
    cake_all_pairs = numbers(pairs(emmeans(m$cake, ~ recipe * temperature, at = list(temperature = c("175", "205"))))),
    cake_interaction = numbers(contrast(emmeans(m$cake, ~ recipe * temperature), interaction = c("pairwise", "poly"))),
    cake_temp_at = numbers(emmeans(m$cake_temp, ~ recipe | temp, at = t3)),
    cake_temp_averaged = numbers(emmeans(m$cake_temp, "recipe", cov.reduce = range)),
    cake_trends = numbers(emtrends(m$cake_temp, "recipe", var = "temp")),
    cake_trend_pairs = numbers(pairs(emtrends(m$cake_temp, "recipe", var = "temp"))),
    oats = numbers(emmeans(m$oats, ~ nitro | Variety)),
    oats_control = numbers(contrast(emmeans(m$oats, ~ nitro | Variety), "trt.vs.ctrl")),
    oats_poly = numbers(contrast(emmeans(m$oats, ~ nitro | Variety), "poly")),
    oats_variety = numbers(pairs(emmeans(m$oats, "Variety"))),
    machines = numbers(emmeans(m$machines, "Machine")),
    machines_pairs = numbers(pairs(emmeans(m$machines, "Machine"))),
    ham = numbers(emmeans(m$ham, ~ Product | Information)),
    ham_gender = numbers(emmeans(m$ham, "Gender", weights = "proportional")),
    ham_at = numbers(emmeans(m$ham, ~ Product * Age, at = list(Age = c(20, 50)))),
    ham_effects = numbers(contrast(emmeans(m$ham, "Product"), "eff")),
    ham_del = numbers(contrast(emmeans(m$ham, "Product"), "del.eff", adjust = "none")),
    ham_ml = numbers(emmeans(m$ham_ml, "Gender")),
    ham_ml_weighted = numbers(emmeans(m$ham_ml, "Gender", weights = "outer")),
    log_sleep = numbers(emmeans(m$log_sleep, ~ Days, at = d3), type = "response"),
    log_sleep_pairs = numbers(pairs(emmeans(m$log_sleep, ~ Days, at = d3)), type = "response"),
    sqrt_sleep = numbers(emmeans(m$sqrt_sleep, ~ Days, at = d3), type = "response"),
    log10_sleep_pairs = numbers(pairs(emmeans(m$log10_sleep, ~ Days, at = d3)), type = "response"),
    offset_sleep = numbers(emmeans(m$offset_sleep, ~ half)),
    weighted_sleep = numbers(emmeans(m$weighted_sleep, ~ half, weights = "proportional")),
    words = numbers(emmeans(m$words, ~ task * stimulus | frequency)),
    words_simple = numbers(pairs(emmeans(m$words, ~ task | stimulus * frequency))),
    words_second = numbers(contrast(emmeans(m$words, ~ task * stimulus), interaction = "consec")),
    cubic_trends = numbers(emtrends(m$cubic, ~ recipe * temp, var = "temp", at = t3, delta.var = 1e-6)),
    square_trends = numbers(emtrends(m$square, ~ recipe * temp, var = "temp", at = t3, delta.var = 1e-6)),
    spline = numbers(emmeans(m$spline, ~ recipe * temp, at = t3)),
    spline_trends = numbers(emtrends(m$spline, ~ recipe * temp, var = "temp", at = t3, delta.var = 1e-6)),
    full_cells = numbers(full),
    holes_pairs = numbers(pairs(emmeans(m$holes, ~ recipe | temperature))),
    holes_temperatures = numbers(contrast(emmeans(m$holes, ~ temperature | recipe), "trt.vs.ctrl", adjust = "sidak"))
  )
  for (w in c("equal", "proportional", "outer", "cells", "flat"))
    out[[paste0("uneven_", w)]] <- numbers(emmeans(m$uneven, "recipe", weights = w))
  for (a in adjusts) out[[paste0("adjust_", a)]] <- numbers(pairs(full), adjust = a)
  out$consec <- numbers(contrast(emmeans(m$uneven_full, "temperature"), "consec", adjust = "bonferroni"))
  out$mean_chg <- numbers(contrast(emmeans(m$uneven_full, "temperature"), "mean_chg", adjust = "holm"))
  out$revpairwise <- numbers(contrast(emmeans(m$uneven_full, "temperature"), "revpairwise"))
  out$reference <- numbers(contrast(emmeans(m$uneven_full, "temperature"), "trt.vs.ctrl", ref = c(2, 4), reverse = TRUE))
  out$custom <- numbers(contrast(emmeans(m$uneven_full, "recipe"), list(a = c(1, -.5, -.5), b = c(0, 1, -1)), adjust = "holm"))
  out
}
joint <- function(m) list(
  cake = tests(joint_tests(m$cake)),
  cake_temp = tests(joint_tests(m$cake_temp)),
  oats = tests(joint_tests(m$oats)),
  oats_by = tests(joint_tests(m$oats, by = "Variety")),
  machines = tests(joint_tests(m$machines)),
  ham = tests(joint_tests(m$ham)),
  ham_ml = tests(joint_tests(m$ham_ml)),
  uneven_full = tests(joint_tests(m$uneven_full)),
  holes = tests(joint_tests(m$holes, showconf = FALSE)),
  words = tests(joint_tests(m$words)))

emm_options(lmer.df = "satterthwaite")
message("fits ", proc.time()[[1]])
models <- lapply(models, lmerTest::as_lmerModLmerTest)  # once, not for every row
satterthwaite <- calls(models)
joint_satterthwaite <- joint(models)
# F, denominator and p-value by lmerTest: emmeans rounds F and takes the smallest denominator of orthonormal rows
effects <- list(cake = list("recipe", "temperature", c("recipe", "temperature")),
                oats = list("nitro", "Variety", c("nitro", "Variety")),
                machines = list("Machine"),
                uneven_full = list("recipe", "temperature", c("recipe", "temperature")))
contests <- function(ddf) lapply(setNames(nm = names(effects)), function(name) unname(t(sapply(effects[[name]], function(f) {
  L <- contrast(emmeans(models[[name]], f), interaction = "consec")@linfct
  unlist(lmerTest::contestMD(models[[name]], L, ddf = ddf)[c("NumDF", "DenDF", "F value", "Pr(>F)")])
}))))
message("satterthwaite ", proc.time()[[1]])
emm_options(lmer.df = "kenward-roger")
kr <- models[c("cake", "cake_temp", "oats", "machines", "uneven", "uneven_full")]
kenward_roger <- with(list(m = kr), list(
  cake_recipe = numbers(emmeans(m$cake, "recipe")),
  cake_pairs = numbers(pairs(cells(m))),
  cake_trend_pairs = numbers(pairs(emtrends(m$cake_temp, "recipe", var = "temp"))),
  oats = numbers(emmeans(m$oats, ~ nitro | Variety)),
  oats_variety = numbers(pairs(emmeans(m$oats, "Variety"))),
  machines = numbers(emmeans(m$machines, "Machine")),
  machines_pairs = numbers(pairs(emmeans(m$machines, "Machine"))),
  full_cells = numbers(emmeans(m$uneven_full, ~ recipe | temperature)),
  uneven_proportional = numbers(emmeans(m$uneven, "recipe", weights = "proportional")),
  adjust_tukey = numbers(pairs(emmeans(m$uneven_full, ~ recipe | temperature)))))

message("kenward-roger ", proc.time()[[1]])
# distributions: Tukey's where R's algorithm is at its best, and the multivariate t to small Monte Carlo error
tukey <- expand.grid(q = c(1, 2.5, 3.5, 5), k = c(2, 3, 6, 15), df = c(8, 20.5, 60, Inf))
tukey$tail <- mapply(ptukey, tukey$q, tukey$k, tukey$df, lower.tail = FALSE)
set.seed(1)
designs <- list(pairwise = emmeans:::pairwise.emmc(1:4), consec = emmeans:::consec.emmc(1:5), mean_chg = emmeans:::mean_chg.emmc(1:6))
mvt <- lapply(designs, function(K) {
  R <- cov2cor(crossprod(as.matrix(K)))
  sapply(c(1, 2, 3), function(t) sapply(c(7, 30), function(df)
    1 - mvtnorm::pmvt(rep(-t, nrow(R)), rep(t, nrow(R)), df = df, corr = R,
                      algorithm = mvtnorm::GenzBretz(maxpts = 1e6, abseps = 2e-6))[1]))
})
p <- c(0.001, 0.008, 0.012, 0.013, 0.03, 0.049, 0.2, 0.2, 0.61)
adjusted <- sapply(c("holm", "hochberg", "hommel", "BH", "BY"), function(a) p.adjust(p, a), simplify = FALSE)
poly <- lapply(3:12, function(k) unname(as.matrix(emmeans:::poly.emmc(seq_len(k)))))

version <- function(p) as.character(packageVersion(p))
result <- list(
  provenance = list(R = R.version.string, emmeans = version("emmeans"), lme4 = version("lme4"),
                    lmerTest = version("lmerTest"), pbkrtest = version("pbkrtest"), mvtnorm = version("mvtnorm")),
  labels = list(oats = as.character(as.data.frame(pairs(emmeans(models$oats, ~ nitro | Variety)))$contrast[1:6]),
                cake = as.character(as.data.frame(pairs(emmeans(models$cake, ~ recipe * temperature,
                                                              at = list(temperature = c("175", "205")))))$contrast)),
  satterthwaite = satterthwaite, joint = joint_satterthwaite, contests = list(satterthwaite = contests("Satterthwaite"), kenward_roger = contests("Kenward-Roger")),
  kenward_roger = kenward_roger,
  tukey = unname(as.matrix(tukey)), mvt = mvt, p = p, adjusted = adjusted, poly = poly)
writeLines(jsonlite::toJSON(result, digits = NA, auto_unbox = TRUE, na = "null"), file.path(here, "emmeans.json"))
