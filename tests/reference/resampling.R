# Refits and parametric bootstraps by lme4; writes resampling.json.
#
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/resampling.R
#
# `refits`: responses simulated by lme4 and rounded, each with the estimates of lmer() at a tight tolerance, not of
# refit(): that of lme4 1.1-31 takes n - 1 for n - p in the REML criterion (right for p = 1 and for ML).
# `boots`: mean, standard deviation and kurtosis of the estimates over nsim replicates of bootMer(), which uses refit():
# by ML, or with p = 1.

suppressPackageStartupMessages(library(lme4))
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
sets <- jsonlite::fromJSON(file.path(here, "..", "..", "sparselmm", "datasets", "data", "datasets.json"),
                           simplifyDataFrame = FALSE)
unbox <- jsonlite::unbox

read_set <- function(name) {
  synthetic <- startsWith(name, "synthetic:")
  folder <- if (synthetic) file.path(here, "data") else file.path(here, "..", "..", "sparselmm", "datasets", "data")
  frame <- read.csv(file.path(folder, paste0(sub("synthetic:", "", name), ".csv.gz")), colClasses = "character",
                    na.strings = "", check.names = FALSE)
  for (column in names(frame)) {
    entry <- sets[[name]]$columns[[column]]
    frame[[column]] <- if (is.null(entry$levels)) type.convert(frame[[column]], as.is = TRUE)
                       else factor(frame[[column]], entry$levels, ordered = FALSE)
  }
  frame
}

control <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE,
                       optCtrl = list(rhobeg = 0.2, rhoend = 1e-10, maxfun = 1e5), check.conv.singular = "ignore")

fit_one <- function(spec, response = NULL) {
  frame <- read_set(spec$dataset)
  formula <- as.formula(spec$formula)
  if (!is.null(response)) frame[[as.character(formula[[2]])]] <- response
  call <- list(formula, frame, REML = spec$reml, control = control)
  if (!is.null(spec$weights)) call$weights <- frame[[spec$weights]]
  if (!is.null(spec$offset)) call$offset <- frame[[spec$offset]]
  do.call(lmer, call)
}

models <- list(
  list(id = "sleepstudy slopes", dataset = "sleepstudy", formula = "Reaction ~ Days + (Days | Subject)", reml = TRUE),
  list(id = "sleepstudy slopes ML", dataset = "sleepstudy", formula = "Reaction ~ Days + (Days | Subject)",
       reml = FALSE),
  list(id = "Penicillin", dataset = "Penicillin", formula = "diameter ~ 1 + (1 | plate) + (1 | sample)", reml = TRUE),
  list(id = "Pastes nested", dataset = "Pastes", formula = "strength ~ 1 + (1 | batch) + (1 | batch:cask)",
       reml = TRUE),
  list(id = "sleepstudy weights offset", dataset = "synthetic:sleepstudy_plus",
       formula = "Reaction ~ Days + (1 | Subject)", reml = TRUE, weights = "w", offset = "off")
)

estimates <- function(fit) {
  # the deviance with log|W|, as logLik has it
  list(fixef = unname(fixef(fit)), se = unname(sqrt(diag(as.matrix(vcov(fit))))), theta = unname(getME(fit, "theta")),
       sigma = unbox(sigma(fit)), deviance = unbox(-2 * as.numeric(logLik(fit))))
}

refits <- lapply(models, function(spec) {
  fit <- fit_one(spec)
  set.seed(20, "Mersenne-Twister", "Inversion")
  responses <- round(simulate(fit, 5), 2)
  responses[[5]] <- round(fitted(fit) * 0.01 + rnorm(nobs(fit)), 2)  # next to no variance between the levels
  list(id = unbox(spec$id), dataset = unbox(spec$dataset), formula = unbox(spec$formula), reml = unbox(spec$reml),
       weights = if (!is.null(spec$weights)) unbox(spec$weights), offset = if (!is.null(spec$offset)) unbox(spec$offset),
       theta_names = names(getME(fit, "theta")),
       responses = lapply(responses, unname),
       estimates = lapply(responses, function(y) estimates(fit_one(spec, y))))
})

boots <- lapply(models[c(2, 4)], function(spec) {
  fit <- fit_one(spec)
  of <- function(fit) c(fixef(fit), as.data.frame(VarCorr(fit), order = "lower.tri")$sdcor)
  done <- suppressMessages(suppressWarnings(bootMer(fit, of, nsim = 1000, seed = 11)))
  t <- done$t
  colnames(t) <- NULL
  centred <- sweep(t, 2, colMeans(t, na.rm = TRUE))
  list(id = unbox(spec$id), dataset = unbox(spec$dataset), formula = unbox(spec$formula), reml = unbox(spec$reml),
       nsim = unbox(1000L), mean = colMeans(t, na.rm = TRUE), sd = apply(t, 2, sd, na.rm = TRUE),
       kurtosis = colMeans(centred^4, na.rm = TRUE) / colMeans(centred^2, na.rm = TRUE)^2)
})

versions <- list(lme4 = unbox(as.character(packageVersion("lme4"))),
                 R = unbox(paste(R.version$major, R.version$minor, sep = ".")))
writeLines(jsonlite::toJSON(list(provenance = versions, refits = refits, boots = boots), digits = NA, null = "null"),
           file.path(here, "resampling.json"))
