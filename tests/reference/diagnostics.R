# Residuals, leverage, influence, shares of variance, collinearity and cluster-robust covariances by lme4, performance,
# car, cAIC4 and clubSandwich: writes diagnostics.json.
#
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/diagnostics.R
#
# Every number is at the theta that is written beside it.

suppressPackageStartupMessages({
  library(lme4)
  library(clubSandwich)
})
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
folder <- file.path(here, "..", "..", "sparselmm", "datasets", "data")
sets <- jsonlite::fromJSON(file.path(folder, "datasets.json"), simplifyDataFrame = FALSE)

read_set <- function(name) {
  frame <- read.csv(file.path(folder, paste0(name, ".csv.gz")), colClasses = "character", na.strings = "")
  for (column in names(frame)) {
    entry <- sets[[name]]$columns[[column]]
    frame[[column]] <- if (is.null(entry$levels)) type.convert(frame[[column]], as.is = TRUE)
                       else factor(frame[[column]], entry$levels)
    if (is.character(frame[[column]]))
      frame[[column]] <- factor(frame[[column]], sort(unique(frame[[column]]), method = "radix"))
  }
  frame$w <- 1 + (seq_len(nrow(frame)) %% 3) / 2
  frame
}

control <- function(rhobeg) lmerControl("bobyqa", optCtrl = list(rhobeg = rhobeg, rhoend = 1e-9, maxfun = 1e5),
                                        calc.derivs = FALSE, check.conv.singular = "ignore")

linear_mixed <- function(formula, data, reml, weights, ...) {  # clubSandwich refuses weights, even of one
  data$.weights <- weights
  environment(formula) <- new.env()  # lme4 assigns `weights` there
  suppressWarnings(if (is.null(weights)) lmer(formula, data, REML = reml, ...)
                   else lmer(formula, data, REML = reml, weights = .weights, ...))
}

tight <- function(formula, data, reml, weights, start = NULL) {
  fit <- function(start, rhobeg) linear_mixed(formula, data, reml, weights, start = start, control = control(rhobeg))
  m <- fit(start, 0.02)
  fit(getME(m, "theta"), 1e-4)
}

at_theta <- function(formula, data, reml, weights, theta) {  # fixed effects at a given theta
  devfun <- linear_mixed(formula, data, reml, weights, devFunOnly = TRUE)
  devfun(theta)
  environment(devfun)$pp$beta(1)
}

effective_df <- function(m, formula, data, reml) {  # trace of the derivative of the fitted values, theta estimated again
  name <- as.character(formula[[2]]); theta <- getME(m, "theta"); step <- 0.01 * sd(data[[name]])
  value <- function(i, change) {  # not by refit(), which stops short of the optimum
    data[[name]][i] <- data[[name]][i] + change
    fitted(tight(formula, data, reml, NULL, theta))[i]
  }
  sum(sapply(seq_len(nrow(data)), function(i) (value(i, step) - value(i, -step)) / (2 * step)))
}

describe <- function(id, dataset, formula, group, reml = TRUE, weighted = FALSE, cluster = NULL, refits = FALSE,
                     effective = FALSE, shares = TRUE, vif = FALSE) {
  cat(id, "\n")
  data <- read_set(dataset)
  weights <- if (weighted) data$w
  formula <- as.formula(formula)
  m <- tight(formula, data, reml, weights)
  theta <- getME(m, "theta")
  labels <- if (grepl(":", group)) interaction(data[strsplit(group, ":")[[1]]], drop = TRUE, lex.order = TRUE) else data[[group]]
  levels <- levels(factor(labels))
  without <- function(f) t(sapply(levels, function(l) f(data[labels != l, ], weights[labels != l])))
  record <- list(id = id, dataset = dataset, formula = deparse(formula), reml = reml, weighted = weighted, group = group,
                 theta = theta, hat = unname(hatvalues(m)), cooks = unname(cooks.distance(m)),
                 rstudent = unname(rstudent(m)), pearson = unname(residuals(m, "pearson", scaled = TRUE)),
                 at_theta = unname(without(function(d, w) at_theta(formula, d, reml, w, theta))),
                 pca = lapply(unclass(rePCA(m)), function(p) p$sdev))
  if (ncol(record$at_theta) != length(fixef(m))) record$at_theta <- t(record$at_theta)
  if (refits) {
    record$refits <- unname(without(function(d, w) fixef(tight(formula, d, reml, w, theta))))
    if (ncol(record$refits) != length(fixef(m))) record$refits <- t(record$refits)
  }
  if (shares) {
    r2 <- performance::r2_nakagawa(m); icc <- performance::icc(m)
    record$r2 <- unname(c(r2$R2_marginal, r2$R2_conditional))
    record$icc <- c(icc$ICC_adjusted, icc$ICC_unadjusted)
    if (all(lengths(m@cnms) == 1)) {
      groups <- performance::icc(m, by_group = TRUE)
      record$icc_by_group <- setNames(as.list(groups$ICC), groups$Group)
    }
  }
  if (vif) { v <- as.matrix(car::vif(m)); record$vif <- unname(v[, 1]) }
  if (effective) {
    record$conditional_loglik <- cAIC4::cAIC(m)$loglikelihood
    record$effective_df <- effective_df(m, formula, data, reml)
    record$caic4_df <- cAIC4::cAIC(m)$df
  }
  if (!is.null(cluster)) {
    cl <- if (cluster %in% names(data)) data[[cluster]] else labels
    V <- lapply(setNames(nm = c("CR0", "CR1", "CR1S", "CR2")), function(type) unname(as.matrix(vcovCR(m, cl, type))))
    p <- length(fixef(m))
    rows <- if (p > 2) diag(p)[-1, , drop = FALSE] else diag(p)
    wald <- Wald_test(m, constraints = rows, vcov = vcovCR(m, cl, "CR2"), test = "HTZ")
    record$robust <- c(V, list(cluster = cluster, df = coef_test(m, vcovCR(m, cl, "CR2"), test = "Satterthwaite")$df_Satt,
                               wald = c(wald$Fstat, wald$df_denom)))
  }
  record
}

models <- list(
  describe("sleepstudy", "sleepstudy", "Reaction ~ Days + (Days | Subject)", "Subject", cluster = "Subject",
           refits = TRUE, effective = TRUE),
  describe("sleepstudy-weights", "sleepstudy", "Reaction ~ Days + I(Days^2) + (Days | Subject)", "Subject", reml = FALSE,
           weighted = TRUE, refits = TRUE, shares = FALSE, vif = TRUE),
  describe("Penicillin", "Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "sample", effective = TRUE),
  describe("Pastes", "Pastes", "strength ~ 1 + (1 | batch/cask)", "batch", cluster = "batch", refits = TRUE),
  describe("Dyestuff", "Dyestuff", "Yield ~ 1 + (1 | Batch)", "Batch", reml = FALSE, cluster = "Batch", effective = TRUE),
  describe("cake", "cake", "angle ~ recipe * temp + (1 | recipe:replicate)", "recipe:replicate",
           cluster = "recipe:replicate", vif = TRUE),
  describe("Machines", "Machines", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "Worker", cluster = "Worker",
           refits = TRUE),
  describe("Orthodont", "Orthodont", "distance ~ age * Sex + (age | Subject)", "Subject", cluster = "Subject", vif = TRUE)
)
versions <- sapply(c("lme4", "performance", "insight", "car", "cAIC4", "clubSandwich"),
                   function(p) as.character(packageVersion(p)))
text <- jsonlite::toJSON(list(versions = as.list(versions), models = models), digits = I(14), auto_unbox = TRUE, na = "null")
writeLines(text, file.path(here, "diagnostics.json"))
