"""The elementary functions of generated machine code: scalar functions that LLVM can put into vector instructions.

A loop over an array that calls the C library's `exp` computes one number at a time. These functions are made of
arithmetic, selections and shifts of bits alone, so the whole loop becomes vector code. Their source is copied into
generated modules and compiled there; so each uses `np`, numbers and other functions of this file, nothing else. In
plain Python they run on NumPy's scalars, slowly, and warn where NumPy's arithmetic does.

They are to be compiled with

- `error_model="numpy"`, else every division has a branch that raises, and nothing is vectorised;
- `forceinline=True`, else LLVM leaves calls of the longer ones in the loop;
- `fastmath={"contract"}` or none. "reassoc" makes (x - n hi) - n lo into x - n (hi + lo), which hi and lo are there
  to prevent: `exp32` would be wrong by 4 ulp and infinite from 88.4 on, `log1p_32` 0 near 0. The loop around may have
  any flags but "nnan" and "ninf", since instructions keep their own.

Special values are NumPy's: infinities, NaN, the sign of 0, overflow to inf, and gradual underflow to denormal numbers.
The largest errors found over the whole range, in ulp (the distance of floating-point numbers at the result), with and
without "contract"; the tests hold all to 2:

=======  ===  =====  ===  =====  ====  =======  ========  ===
dtype    exp  expm1  log  log1p  tanh  sigmoid  softplus  erf
=======  ===  =====  ===  =====  ====  =======  ========  ===
float32  1.0  1.5    .84  .87    1.2   2.0      2.0       1.3
float64  1.1  1.6    .79  .79    1.2   2.0      1.8       1.1
=======  ===  =====  ===  =====  ====  =======  ========  ===

The argument is reduced with ln 2 in two parts [Cody & Waite 1980]; the logarithm is arranged as in fdlibm [Sun
Microsystems 1993, e_log.c]. The coefficients were computed for this file: Remez's algorithm in 60 digits, then
rounded; the error of a polynomial stands beside it.
"""

import numpy as np

__all__ = [
    *("erf32", "erf64", "exp32", "exp64", "expm1_32", "expm1_64", "log1p_32", "log1p_64", "log32", "log64"),
    *("sigmoid32", "sigmoid64", "softplus32", "softplus64", "tanh32", "tanh64"),
]


def exp32(x: np.float32) -> np.float32:
    """eˣ = 2ⁿ eʳ with n = round(x / ln 2) and |r| ≤ ln 2 / 2; float32."""
    # Beyond these bounds the result is 0 or inf whatever x is; NaN takes the lower one and comes back at the end.
    c = x if x > np.float32(-104) else np.float32(-104)
    c = c if c < np.float32(89) else np.float32(89)
    n = np.floor(c * np.float32(1.442695) + np.float32(0.5))
    r = (c - n * np.float32(0.693145751953125)) - n * np.float32(1.4286068e-06)
    y = np.float32(1) + (r + r * r * expm1_series32(r))
    k = np.int32(n)
    # In two steps, since 2¹²⁸ and 2⁻¹⁴⁹ are no normal numbers: only the last product rounds.
    half = np.int32(k >> np.int32(1))
    y = y * power_of_two32(half) * power_of_two32(np.int32(k - half))
    return y if x == x else x


def expm1_series32(r: np.float32) -> np.float32:
    """(eʳ - 1 - r) / r² for |r| ≤ ln 2 / 2; the error is 2.5e-10."""
    p = np.float32(0.0013940327) + r * np.float32(0.00019915751)
    p = np.float32(0.041666366) + r * (np.float32(0.008333271) + r * p)
    return np.float32(0.5) + r * (np.float32(0.16666667) + r * p)


def power_of_two32(k: np.int32) -> np.float32:
    """2ᵏ for -126 ≤ k ≤ 127: the number whose exponent bits are k."""
    return np.int32((k + np.int32(127)) << np.int32(23)).view(np.float32)


def expm1_32(x: np.float32) -> np.float32:
    """eˣ - 1 without cancellation: 2ⁿ (eʳ - 1) + (2ⁿ - 1), with n and r as in `exp32`."""
    c = x if x > np.float32(-18) else np.float32(-18)
    c = c if c < np.float32(89) else np.float32(89)
    n = np.floor(c * np.float32(1.442695) + np.float32(0.5))
    exact, rest = c - n * np.float32(0.693145751953125), n * np.float32(1.4286068e-06)
    r = exact - rest
    # What the rounding of r lost counts here, because 1 is subtracted.
    em1 = r + (r * r * expm1_series32(r) + ((exact - r) - rest))
    # Half of it, since 2¹²⁸ is no number.
    t = power_of_two32(np.int32(np.int32(n) - np.int32(1)))
    y = np.float32(2) * (t * em1 + (t - np.float32(0.5)))
    # False for NaN, too.
    return y if abs(x) > np.float32(1e-8) else x


def log32(x: np.float32) -> np.float32:
    """ln x = k ln 2 + ln(1 + f) with 1 + f between √½ and √2; float32."""
    return corrected_log32(x, np.float32(0))


def log1p_32(x: np.float32) -> np.float32:
    """ln(1 + x): the logarithm of u = 1 + x as rounded, corrected by what the rounding lost, divided by u."""
    u = np.float32(1) + x
    y = corrected_log32(u, (x - (u - np.float32(1))) / u)
    return y if abs(x) > np.float32(1e-8) else x


def corrected_log32(u: np.float32, correction: np.float32) -> np.float32:
    """ln u + correction; with s = f / (2 + f), ln(1 + f) = 2 artanh s = f - f²/2 + s (f²/2 + R(s²))."""
    m = u if u > np.float32(0) else np.float32(1)
    denormal = m < np.float32(1.17549435e-38)
    bits = np.float32(m * (np.float32(8388608) if denormal else np.float32(1))).view(np.int32)
    k = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))  # 0x3F3504F3: the bits of √½
    f = np.int32(bits - np.int32(k << np.int32(23))).view(np.float32) - np.float32(1)
    n = np.float32(k) - (np.float32(23) if denormal else np.float32(0))
    s = f / (np.float32(2) + f)
    z = s * s
    # (2 artanh s - 2 s) / s³; the error is 2e-9.
    R = z * (np.float32(0.66666764) + z * (np.float32(0.39978603) + z * np.float32(0.2984783)))
    h = np.float32(0.5) * f * f
    y = n * np.float32(0.693145751953125) - ((h - (s * (h + R) + (n * np.float32(1.4286068e-06) + correction))) - f)
    # inf and NaN; then zeros, and what has no logarithm.
    y = y if u < np.float32(np.inf) else u
    y = y if u != np.float32(0) else np.float32(-np.inf)
    return np.float32(np.nan) if u < np.float32(0) else y


def with_sign32(y: np.float32, x: np.float32) -> np.float32:
    """y ≥ 0 with the sign of x, by bits: a selection could not tell -0 from 0."""
    sign = np.int32(np.float32(x).view(np.int32) & np.int32(-0x80000000))
    return np.int32(np.float32(y).view(np.int32) | sign).view(np.float32)


def tanh32(x: np.float32) -> np.float32:
    """tanh x: below .625 an odd polynomial, else 1 - 2 / (E + 1) with E = e^(2|x|) = 2ⁿ eʳ as in `exp32`; float32."""
    z = x * x
    p = np.float32(-0.053743668) + z * (np.float32(0.020651061) + z * np.float32(-0.0057175145))
    p = np.float32(-0.33333284) + z * (np.float32(0.13331494) + z * p)
    a = abs(x)
    near = a + a * z * p  # the error is 4e-9 x³
    c = a if a < np.float32(10) else np.float32(10)
    n = np.floor(c * np.float32(2.88539) + np.float32(0.5))
    r = (c + c - n * np.float32(0.693145751953125)) - n * np.float32(1.4286068e-06)
    s = power_of_two32(np.int32(n))
    d = (s + np.float32(1)) + s * (r + r * r * expm1_series32(r))
    far = np.float32(1) - np.float32(2) / d
    return with_sign32(far if a >= np.float32(0.625) else near, x)


def sigmoid32(x: np.float32) -> np.float32:
    """σ(x) = 1 / (1 + e^-x) = 2ⁿ / (2ⁿ + e^-r) with n and r as in `exp32`; float32.

    Nothing overflows, and a small σ(x) is as accurate as a large one.
    """
    c = x if x > np.float32(-104) else np.float32(-104)
    c = c if c < np.float32(20) else np.float32(20)
    n = np.floor(c * np.float32(1.442695) + np.float32(0.5))
    r = (n * np.float32(0.693145751953125) - c) + n * np.float32(1.4286068e-06)
    k = np.int32(n)
    half = np.int32(k >> np.int32(1))
    s1, s2 = power_of_two32(half), power_of_two32(np.int32(k - half))
    d = np.float32(1) + (s1 * s2 + (r + r * r * expm1_series32(r)))
    # The power of two comes last, so that a denormal result is rounded once.
    y = np.float32(1) / d * s1 * s2
    return y if x == x else x


def softplus32(x: np.float32) -> np.float32:
    """ln(1 + eˣ) = max(x, 0) + ln(1 + e), e = e^-|x|, the logarithm as in `corrected_log32` with f = e; float32."""
    e = exp32(-abs(x))
    s = e / (np.float32(2) + e)
    z = s * s
    # (2 artanh s - 2 s) / s³ for s ≤ 1/3; the error is 2e-10.
    p = np.float32(0.28616756) + z * (np.float32(0.21428919) + z * np.float32(0.24296568))
    p = np.float32(0.66666675) + z * (np.float32(0.39998883) + z * p)
    h = np.float32(0.5) * e * e
    # x within the correction rather than beside the logarithm: so the sum is rounded once where both are of one size.
    return e - ((h - s * (h + z * p)) - (x if x > np.float32(0) else np.float32(0)))


def erf32(x: np.float32) -> np.float32:
    """erf x: below 1 an odd polynomial, else 1 - e^-q with a polynomial for q / x = -ln(erfc x) / x; float32."""
    z = x * x
    p = np.float32(0.0051883273) + z * (np.float32(-0.0008010192) + z * np.float32(7.853858e-05))
    p = np.float32(-0.37612626) + z * (np.float32(0.112835854) + z * (np.float32(-0.026853811) + z * p))
    a = abs(x)
    near = a + a * (np.float32(0.12837917) + z * p)  # the error is 1.2e-9 of erf x
    c = a if a < np.float32(4) else np.float32(4)
    q = np.float32(-0.022798425) + c * (np.float32(0.0031869342) + c * np.float32(-0.00021064159))
    q = np.float32(1.1284801) + c * (np.float32(0.63583153) + c * (np.float32(0.105116084) + c * q))
    far = np.float32(1) - exp32(-(c * q))  # the error is 2.5e-9 of erf x
    return with_sign32(far if a >= np.float32(1) else near, x)


# The same in float64. Where nothing is said, it is as above.


def exp64(x: np.float64) -> np.float64:
    """eˣ; float64."""
    c = x if x > -746.0 else -746.0
    c = c if c < 710.0 else 710.0
    n = np.floor(c * 1.4426950408889634 + 0.5)
    r = (c - n * 0.6931471805598903) - n * 5.497923018708371e-14
    y = 1.0 + (r + r * r * expm1_series64(r))
    k = np.int32(n)
    half = np.int32(k >> np.int32(1))
    y = y * power_of_two64(half) * power_of_two64(np.int32(k - half))
    return y if x == x else x


def expm1_series64(r: np.float64) -> np.float64:
    """(eʳ - 1 - r) / r² for |r| ≤ ln 2 / 2; the error is 2e-17."""
    p = 2.4801507528071082e-05 + r * (2.7557222866432405e-06 + r * (2.762528931509023e-07 + r * 2.5116597373284475e-08))
    p = 0.008333333333313703 + r * (0.0013888888929228659 + r * (0.0001984126990686399 + r * p))
    return 0.5000000000000004 + r * (0.16666666666666685 + r * (0.04166666666658626 + r * p))


def power_of_two64(k: np.int32) -> np.float64:
    """2ᵏ for -1022 ≤ k ≤ 1023."""
    return np.int64((np.int64(k) + np.int64(1023)) << np.int64(52)).view(np.float64)


def expm1_64(x: np.float64) -> np.float64:
    """eˣ - 1; float64."""
    c = x if x > -38.0 else -38.0
    c = c if c < 710.0 else 710.0
    n = np.floor(c * 1.4426950408889634 + 0.5)
    exact, rest = c - n * 0.6931471805598903, n * 5.497923018708371e-14
    r = exact - rest
    em1 = r + (r * r * expm1_series64(r) + ((exact - r) - rest))
    t = power_of_two64(np.int32(np.int32(n) - np.int32(1)))
    y = 2.0 * (t * em1 + (t - 0.5))
    return y if abs(x) > 1e-17 else x


def log64(x: np.float64) -> np.float64:
    """ln x; float64."""
    return corrected_log64(x, np.float64(0))


def log1p_64(x: np.float64) -> np.float64:
    """ln(1 + x); float64."""
    u = 1.0 + x
    y = corrected_log64(u, (x - (u - 1.0)) / u)
    return y if abs(x) > 1e-17 else x


def corrected_log64(u: np.float64, correction: np.float64) -> np.float64:
    """ln u + correction; float64."""
    m = u if u > 0.0 else 1.0
    denormal = m < 2.2250738585072014e-308
    bits = np.float64(m * (18014398509481984.0 if denormal else 1.0)).view(np.int64)
    k = np.int64(np.int64(bits - np.int64(0x3FE6A09E667F3BCD)) >> np.int64(52))  # the bits of √½
    f = np.int64(bits - np.int64(k << np.int64(52))).view(np.float64) - 1.0
    n = np.float64(np.int32(k)) - (54.0 if denormal else 0.0)
    s = f / (2.0 + f)
    z = s * s
    # (2 artanh s - 2 s) / s³; the error is 3e-18.
    R = 0.1818339415455873 + z * (0.15318097124387745 + z * 0.14757974627904957)
    R = 0.39999999999611885 + z * (0.28571428703866175 + z * (0.2222220213959658 + z * R))
    R = z * (0.6666666666666698 + z * R)
    h = 0.5 * f * f
    y = n * 0.6931471805598903 - ((h - (s * (h + R) + (n * 5.497923018708371e-14 + correction))) - f)
    y = y if u < np.inf else u
    y = y if u != 0.0 else np.float64(-np.inf)
    return np.float64(np.nan) if u < 0.0 else y


def with_sign64(y: np.float64, x: np.float64) -> np.float64:
    """y ≥ 0 with the sign of x."""
    sign = np.int64(np.float64(x).view(np.int64) & np.int64(-0x8000000000000000))
    return np.int64(np.float64(y).view(np.int64) | sign).view(np.float64)


def tanh64(x: np.float64) -> np.float64:
    """tanh x; float64."""
    z = x * x
    p = -0.00022863998453765007 + z * (7.722620386709639e-05 + z * -1.611071887106299e-05)
    p = 0.0035919918468465804 + z * (-0.0014549717283373696 + z * (0.0005863561605387432 + z * p))
    p = -0.05396825393267255 + z * (0.021869487605528055 + z * (-0.008863221358751306 + z * p))
    p = -0.3333333333333288 + z * (0.13333333333265443 + z * p)
    a = abs(x)
    near = a + a * z * p  # the error is 1e-17 x³
    c = a if a < 20.0 else 20.0
    n = np.floor(c * 2.8853900817779268 + 0.5)
    r = (c + c - n * 0.6931471805598903) - n * 5.497923018708371e-14
    s = power_of_two64(np.int32(n))
    d = (s + 1.0) + s * (r + r * r * expm1_series64(r))
    far = 1.0 - 2.0 / d
    return with_sign64(far if a >= 0.625 else near, x)


def sigmoid64(x: np.float64) -> np.float64:
    """σ(x); float64."""
    c = x if x > -746.0 else -746.0
    c = c if c < 40.0 else 40.0
    n = np.floor(c * 1.4426950408889634 + 0.5)
    r = (n * 0.6931471805598903 - c) + n * 5.497923018708371e-14
    k = np.int32(n)
    half = np.int32(k >> np.int32(1))
    s1, s2 = power_of_two64(half), power_of_two64(np.int32(k - half))
    d = 1.0 + (s1 * s2 + (r + r * r * expm1_series64(r)))
    y = 1.0 / d * s1 * s2
    return y if x == x else x


def softplus64(x: np.float64) -> np.float64:
    """ln(1 + eˣ); float64."""
    e = exp64(-abs(x))
    s = e / (2.0 + e)
    z = s * s
    # (2 artanh s - 2 s) / s³ for s ≤ 1/3; the error is 3e-18.
    p = 0.12105059621706503 + z * (0.08344281159990329 + z * 0.17011307242208476)
    p = 0.18181744534115085 + z * (0.15386548220389212 + z * (0.13301114052528812 + z * p))
    p = 0.40000000000153746 + z * (0.28571428548218647 + z * (0.22222223950196737 + z * p))
    p = 0.6666666666666632 + z * p
    h = 0.5 * e * e
    return e - ((h - s * (h + z * p)) - (x if x > 0.0 else 0.0))


def erf64(x: np.float64) -> np.float64:
    """erf x; float64."""
    z = x * x
    p = 1.4657878649845259e-08 + z * (-1.136566164263027e-09 + z * 5.945254920512722e-11)
    p = -1.4925593505644513e-05 + z * (1.6460972798142799e-06 + z * (-1.6350025034009867e-07 + z * p))
    p = 0.005223977624780838 + z * (-0.0008548326978740621 + z * (0.00012055331036844874 + z * p))
    p = -0.3761263890318375 + z * (0.11283791670954857 + z * (-0.026866170645072893 + z * p))
    a = abs(x)
    near = a + a * (0.1283791670955126 + z * p)  # the error is 1.3e-19 of erf x
    c = a if a < 6.0 else np.float64(6)
    q = 6.4176606034217725e-09 + c * (-3.4407469539360496e-10 + c * 8.565958952567059e-12)
    q = -3.2722793582195207e-06 + c * (5.788631655387057e-07 + c * (-7.363021431931641e-08 + c * q))
    q = 5.9538205238598e-05 + c * (-3.82707865775244e-05 + c * (1.342981031341186e-05 + c * q))
    q = 0.0017619785139166668 + c * (-0.0006463242171329262 + c * (5.6354979506228456e-05 + c * q))
    q = -0.019097598041821078 + c * (-0.0002629503736696126 + c * q)
    q = 1.1283788643123325 + c * (0.6366225747736839 + c * (0.10276067372171309 + c * q))
    far = 1.0 - exp64(np.float64(-(c * q)))  # the error is 2.5e-17 of erf x
    return with_sign64(far if a >= 1.0 else near, x)
