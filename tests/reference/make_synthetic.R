# Writes the synthetic data sets of the reference models, data/*.csv.gz, the same bytes in every run:
#
#     Rscript tests/reference/make_synthetic.R

here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
options(digits = 15)

save_set <- function(name, frame) {
  connection <- gzfile(file.path(here, "data", paste0(name, ".csv.gz")), "wb", compression = 9)
  write.table(frame, connection, sep = ",", quote = FALSE, row.names = FALSE)
  close(connection)
}

seed <- function(value) set.seed(value, "Mersenne-Twister", "Inversion", "Rejection")
label <- function(letter, code) sprintf("%s%03d", letter, code)

# Subjects x items, one row per cell, both contrasts within both; the item slopes and one subject slope are absent.
seed(1)
crossed <- expand.grid(i = 1:15, s = 1:20)
crossed$a <- ifelse((crossed$s + crossed$i) %% 2 == 0, 0.5, -0.5)
crossed$b <- ifelse((crossed$s %/% 2 + crossed$i %/% 2) %% 2 == 0, 0.5, -0.5)
subject <- 0.8 * rnorm(20)
slope <- 0.5 * rnorm(20) + 0.3 * subject
item <- 0.6 * rnorm(15)
crossed$y <- with(crossed, round(2 + 0.3 * a - 0.2 * b + subject[s] + slope[s] * a + item[i] + rnorm(300), 4))
save_set("crossed_maximal", data.frame(s = label("s", crossed$s), i = label("i", crossed$i), crossed[c("a", "b", "y")]))

# Pupils in classes in schools: integer identifiers, class numbers used again in every school.
seed(2)
classes <- do.call(rbind, lapply(1:14, function(k) data.frame(school = 100 + k, class = seq_len(2 + k %% 4))))
nested <- classes[rep(seq_len(nrow(classes)), 2 + (seq_len(nrow(classes)) * 5) %% 6), ]
nested$x <- round(rnorm(nrow(nested)), 3)
nested$arm <- ifelse(nested$school %% 2 == 0, "control", "treated")
room <- interaction(nested$school, nested$class, drop = TRUE)
effect <- cbind(rnorm(14), 0.4 * rnorm(14))[nested$school - 100, ]
nested$y <- with(nested, round(10 + 0.5 * x + 0.8 * (arm == "treated") + effect[, 1] + effect[, 2] * x +
                                 0.7 * rnorm(nlevels(room))[room] + rnorm(nrow(nested)), 4))
save_set("nested3", nested)

# Three crossed factors, unbalanced, with prior weights and an offset.
seed(3)
n <- 400
three <- data.frame(f = sample(25, n, TRUE), g = sample(12, n, TRUE, (1:12)^0.7), h = sample(8, n, TRUE),
                    cond = sample(c("ctl", "high", "low"), n, TRUE), x = round(rnorm(n), 3),
                    w = round(runif(n, 0.5, 2), 3), off = round(rnorm(n), 3))
three$y <- with(three, round(1 + 0.4 * x + 0.5 * (cond == "high") + rnorm(25)[f] + 0.6 * rnorm(25)[f] * x +
                               0.8 * rnorm(12)[g] + 0.5 * rnorm(8)[h] + 0.4 * rnorm(8)[h] * x + rnorm(n) / sqrt(w), 4))
three[c("f", "g", "h")] <- Map(label, c("f", "g", "h"), three[c("f", "g", "h")])
save_set("three_crossed", three)

# Many small groups, some of one row.
seed(4)
many <- data.frame(g = rep(1:400, 1 + (1:400 * 7) %% 4))
many$x <- round(rnorm(nrow(many)), 3)
many$y <- with(many, round(3 - 0.7 * x + 1.2 * rnorm(400)[g] + 0.8 * rnorm(400)[g] * x + rnorm(nrow(many)), 4))
save_set("many_groups", many)

# Four correlated coefficients per group, well determined.
seed(5)
four <- data.frame(g = label("g", rep(1:80, each = 9)), x1 = round(rnorm(720), 3), x2 = round(rnorm(720), 3),
                   x3 = round(runif(720, -2, 2), 3))
root <- matrix(c(1.2, 0.4, -0.3, 0.2, 0, 0.9, 0.3, 0, 0, 0, 0.7, -0.2, 0, 0, 0, 0.8), 4)
coefficient <- t(root %*% matrix(rnorm(320), 4))[rep(1:80, each = 9), ]
four$y <- with(four, round(5 + x1 - x2 + rowSums(coefficient * cbind(1, x1, x2, x3)) + rnorm(720), 4))
save_set("four_columns", four)

# Intercept and slope are multiples of one variable: the estimated correlation is one.
seed(6)
one <- data.frame(g = label("g", rep(1:24, each = 6)), x = rep(0:5, 24))
common <- rep(rnorm(24), each = 6)
one$y <- with(one, round(2 + 0.3 * x + common * (1 + 0.4 * x) + 1.5 * rnorm(144), 4))
save_set("rank_one", one)

# Slopes without an intercept variance: a search that keeps the diagonal of theta >= 0 is trapped at zero.
seed(2)
trap <- data.frame(g = label("g", rep(1:20, each = 6)), x = rep(-1:4, 20))
trap$y <- with(trap, round(2 + 0.3 * x + rep(0.5 * rnorm(20), each = 6) * x + rnorm(120), 4))
save_set("sign_trap", trap)

# No variance between groups at all.
seed(8)
zero <- data.frame(g = label("g", rep(1:20, each = 6)), x = rep(-1:4, 20))
zero$y <- with(zero, round(2 + 0.3 * x + rnorm(120), 4))
save_set("zero_block", zero)

# Two factors without rows in one cell.
seed(7)
empty <- expand.grid(f = c("p", "q", "r"), g = c("a", "b", "c", "d"), s = label("s", 1:12))
empty <- empty[!(empty$f == "r" & empty$g == "d"), ]
empty$y <- round(1 + (empty$f == "q") + rnorm(12)[as.integer(factor(empty$s))] + rnorm(nrow(empty)), 4)
save_set("empty_cell", empty)

# Awkward units: y near 1e-6, time near 1e8 (seconds), x with standard deviation 1e6.
seed(8)
units <- data.frame(g = label("g", rep(1:30, each = 7)), x = round(1e6 * rnorm(210)))
units$time <- 1e8 + 250000 * rep(0:6, 30) + round(1e5 * rnorm(210))
effect <- cbind(rnorm(30), 0.5 * rnorm(30))[rep(1:30, each = 7), ]
units$y <- signif(1e-6 * (4 + effect[, 1] + (0.2 + effect[, 2]) * units$x / 1e6 + 0.3 * (units$time - 1e8) / 1e6 +
                            0.7 * rnorm(210)), 7)
save_set("units", units)

# sleepstudy with prior weights, an offset, a response far from zero and a redundant column.
seed(9)
sleep <- lme4::sleepstudy
sleep$Subject <- paste0("S", sleep$Subject)
sleep$w <- round(runif(180, 0.5, 2), 3)
sleep$off <- round(20 * rnorm(180), 2)
sleep$Reaction_large <- 1e6 + sleep$Reaction
sleep$hours <- 24 * sleep$Days
save_set("sleepstudy_plus", sleep)

# Machines with the dummies of the factor as columns, for the double bar.
machines <- as.data.frame(nlme::Machines)
machines$Worker <- paste0("W", machines$Worker)
for (level in c("A", "B", "C")) machines[[paste0("m", level)]] <- as.integer(machines$Machine == level)
save_set("machines_dummies", machines)
