# Predictions and their uncertainty, and tidy tables, from lme4, lmerTest and broom.mixed; writes prediction.json.
#
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/prediction.R
#
# Conditional variances come from the inverse of Henderson's mixed model equations, population means from lmerTest's
# contest1D, tables from broom.mixed.

suppressPackageStartupMessages({
  library(lme4)
  library(lmerTest)
  library(broom.mixed)
})
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
data_folder <- file.path(here, "..", "..", "sparselmm", "datasets", "data")
sets <- jsonlite::fromJSON(file.path(data_folder, "datasets.json"), simplifyDataFrame = FALSE)

read_set <- function(name) {
  frame <- read.csv(file.path(data_folder, paste0(name, ".csv.gz")), colClasses = "character", na.strings = "")
  for (column in names(frame)) {
    entry <- sets[[name]]$columns[[column]]
    frame[[column]] <- if (is.null(entry$levels)) type.convert(frame[[column]], as.is = TRUE)
                       else factor(frame[[column]], entry$levels)
    if (is.character(frame[[column]])) frame[[column]] <- factor(frame[[column]])
  }
  frame
}

tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e5, rhoend = 1e-10), calc.derivs = FALSE)
fit <- function(formula, data, reml) {
  first <- lmer(formula, data, REML = reml, control = tight)
  lmer(formula, data, REML = reml, control = tight, start = getME(first, "theta"))
}

henderson <- function(model) {  # variances of x'beta + z'b - predictions for the rows of the fit, G invertible
  X <- getME(model, "X")
  Z <- as.matrix(getME(model, "Z"))
  G <- as.matrix(tcrossprod(getME(model, "Lambda")))
  left <- crossprod(cbind(X, Z))
  random <- ncol(X) + seq_len(ncol(Z))
  left[random, random] <- left[random, random] + solve(G)
  W <- cbind(X, Z)
  sigma(model)^2 * rowSums((W %*% solve(left)) * W)
}

population <- function(model, rows) {
  X <- getME(model, "X")[rows, , drop = FALSE]
  methods <- c(satterthwaite = "Satterthwaite", "kenward-roger" = if (isREML(model)) "Kenward-Roger")
  lapply(methods, function(ddf) {
    tests <- do.call(rbind, lapply(seq_along(rows), function(i) {
      contest1D(model, X[i, ], confint = TRUE, level = 0.9, ddf = ddf)
    }))
    list(estimate = tests$Estimate, se = tests$`Std. Error`, df = tests$df, lower = tests$lower, upper = tests$upper)
  })
}

models <- list(
  list("sleepstudy", "Reaction ~ Days + (Days | Subject)", TRUE),
  list("sleepstudy", "Reaction ~ Days + (Days || Subject)", FALSE),
  list("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", TRUE),
  list("Pastes", "strength ~ 1 + (1 | batch / cask)", TRUE),
  list("Machines", "score ~ Machine + (1 | Worker / Machine)", TRUE),
  list("Oats", "yield ~ nitro * Variety + (1 | Block / Variety)", TRUE),
  list("cake", "angle ~ recipe * temperature + (1 | recipe:replicate)", TRUE)
)

records <- lapply(models, function(m) {
  data <- read_set(m[[1]])
  model <- fit(as.formula(m[[2]]), data, m[[3]])
  rows <- unique(round(seq(1, nrow(data), length.out = 5)))
  fixed <- tidy(model, "fixed", conf.int = TRUE, conf.method = "Wald", ddf.method = "Satterthwaite")
  values <- tidy(as(model, "lmerMod"), "ran_vals", conf.int = TRUE)
  coefficients <- tidy(as(model, "lmerMod"), "ran_coefs")
  list(data = m[[1]], formula = m[[2]], reml = m[[3]], rows = rows - 1,
       variance = henderson(model)[rows], population = population(model, rows),
       fixed = as.list(fixed), ran_vals = as.list(values), ran_coefs = as.list(coefficients),
       glance = as.list(glance(model)))
})

jsonlite::write_json(list(provenance = list(R = R.version.string, lme4 = as.character(packageVersion("lme4")),
                                            lmerTest = as.character(packageVersion("lmerTest")),
                                            broom.mixed = as.character(packageVersion("broom.mixed"))),
                          models = records),
                     file.path(here, "prediction.json"), digits = NA, auto_unbox = TRUE)
